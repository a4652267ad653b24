"""Looks at a machine below a prefix, and does what was planned there."""

import json
import shutil
import subprocess
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from daemons.errors import HeadnodeError
from daemons.install.plan import MANIFEST, OPERATORS, Action, Manifest, Step, parents

_LARGEST = 1 << 20
_VERSION = 1
_PATIENCE_S = 300.0
_FORGET = "remove the file: what is there is kept then, as if it were somebody else's"


class InstallFailed(HeadnodeError):
    """Not everything was done. What was is remembered; trying again goes on from there."""

    code = "install-failed"


def read_texts(prefix: Path, paths: Collection[str]) -> dict[str, str]:
    """What is there of these files. Raises InstallFailed for one that cannot be read, or to which a symbolic link leads out of
    the prefix.
    """
    return {path: text for path in paths if (text := _text(prefix, path)) is not None}


def read_directories(prefix: Path, paths: Collection[str]) -> dict[str, frozenset[str]]:
    """Which of the directories above these, and which of these, are there, with the names in each."""
    wanted = {*parents([*paths, MANIFEST]), *paths, *OPERATORS}
    return {path: frozenset(one.name for one in (prefix / path).iterdir()) for path in sorted(wanted) if (prefix / path).is_dir()}


def read_manifest(prefix: Path) -> Manifest:
    """An empty one where nothing was ever laid down. Raises InstallFailed for one that is not ours."""
    text = _text(prefix, MANIFEST)
    if text is None:
        return Manifest()
    try:
        raw = json.loads(text)
        files = {str(path): str(recorded) for path, recorded in raw["files"].items()}
        found = Manifest(files=files, directories=frozenset(map(str, raw["directories"])))
        is_ours = raw["version"] == _VERSION and not any(map(_is_outside, (*found.files, *found.directories)))
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise InstallFailed(f"{prefix / MANIFEST} cannot be read: {err}", hint=_FORGET) from err
    if not is_ours:
        raise InstallFailed(f"{prefix / MANIFEST} is of another version, or names what is outside", hint=_FORGET)
    return found


def write_manifest(prefix: Path, manifest: Manifest) -> None:
    content = {"version": _VERSION, "files": dict(manifest.files), "directories": sorted(manifest.directories)}
    _write(prefix / MANIFEST, json.dumps(content, indent=1) + "\n")


def forget_manifest(prefix: Path) -> None:
    (prefix / MANIFEST).unlink(missing_ok=True)


def apply_steps(prefix: Path, steps: Sequence[Step], *, done: Callable[[Step], None] = lambda _: None) -> None:
    """Raises InstallFailed at the first that cannot be done; `done` has heard of those before."""
    for step in steps:
        path = prefix / step.path
        try:
            _apply(step, path)
        except OSError as err:
            hint = "run it as root, or name another --prefix" if isinstance(err, PermissionError) else "mend that, and try again"
            raise InstallFailed(f"{step.action} {path}: {err.strerror or err}", hint=hint) from err
        done(step)


def _apply(step: Step, path: Path) -> None:
    if step.action is Action.MAKE:
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    elif step.text is not None:
        _write(path, step.text)
    elif step.action is Action.PURGE:
        shutil.rmtree(path)
    elif step.action is Action.REMOVE and path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif step.action is Action.REMOVE:
        path.unlink(missing_ok=True)


def run_command(argv: Sequence[str]) -> None:
    """Raises InstallFailed with its words."""
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as err:
        words = getattr(err, "stderr", "") or str(err)
        raise InstallFailed(f"{' '.join(argv)}: {words.strip()}", hint="the files are there; run it by hand") from err


def _write(path: Path, text: str) -> None:
    """All of it or nothing, whatever this user's umask is."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _text(prefix: Path, path: str) -> str | None:
    whole = prefix / path
    if not whole.parent.resolve().is_relative_to(prefix):
        raise InstallFailed(f"{whole.parent} leads out of {prefix}", hint="look at its symbolic links")
    try:
        if whole.is_symlink():
            return f"-> {whole.readlink()}"  # somebody else's, whatever it leads to
        with whole.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise InstallFailed(f"{whole} cannot be read: {err.strerror}", hint="run it as root, or look what is there") from err


def _is_outside(path: str) -> bool:
    return path.startswith("/") or ".." in Path(path).parts
