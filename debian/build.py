"""Builds headnode's Debian package from this checkout and this environment, without a network.

What the lock names for the services and the agent is copied from the environment that runs this, so the package holds the very
files that were tested. Needs dpkg-deb.
"""

import argparse
import email.utils
import gzip
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parent
EXTRAS = ("agent", "verify")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
PREFIX = "opt/headnode"
UNITS, SYSUSERS, TMPFILES = "lib/systemd/system", "usr/lib/sysusers.d/headnode.conf", "usr/lib/tmpfiles.d/headnode.conf"
DOC, MANUAL = "usr/share/doc/headnode", "usr/share/man/man1/headnode.1.gz"
_SCRIPT = """#!/{prefix}/bin/python3
import sys

from {module} import {function}

sys.exit({function}())
"""
_CHANGELOG = """headnode ({version}) unstable; urgency=medium

  * See /usr/share/doc/headnode/CHANGELOG.md.gz.

 -- headnode's maintainers <headnode@example.org>  {date}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="the directory for the package")
    target: Path = parser.parse_args().target
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        sys.stdout.write(f"{build(Path(directory), target)}\n")
    return 0


def build(work: Path, target: Path) -> Path:
    """Lay the package out in `work` and pack it. `SOURCE_DATE_EPOCH` makes it the same bytes again."""
    stage = work / "stage"
    version = importlib.metadata.version("headnode")
    made_at = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    _lay_environment(stage / PREFIX, _wheel(work))
    _lay_system_files(stage)
    _lay_documents(stage / DOC, _CHANGELOG.format(version=version, date=email.utils.formatdate(made_at)))
    architecture = _told("dpkg", "--print-architecture")
    _lay_control(stage, {"VERSION": version, "ARCHITECTURE": architecture, "PYTHON": PYTHON})
    _set_modes(stage)
    package = target / f"headnode_{version}_{architecture}.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", str(stage), str(package)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(made_at)})
    return package


def _wheel(work: Path) -> Path:
    uv = str(Path(sys.executable).with_name("uv"))
    argv = [uv, "build", "-q", "--wheel", "--offline", "--no-build-isolation", "-o", str(work / "dist"), str(_copy(work))]
    subprocess.run(argv, check=True)
    return next((work / "dist").glob("*.whl"))


def _copy(work: Path) -> Path:
    """A build leaves things behind in what it builds from, and takes up what an earlier one left."""
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "tests")
    return Path(shutil.copytree(ROOT, work / "source", ignore=ignored))


def _lay_environment(prefix: Path, wheel: Path) -> None:
    """A virtual environment around Debian's interpreter, as `python3 -m venv` would lay it out."""
    packages = prefix / "lib" / PYTHON / "site-packages"
    packages.mkdir(parents=True)
    for distribution in _required():
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                _put(packages / file, Path(str(distribution.locate_file(file))).read_bytes())
    zipfile.ZipFile(wheel).extractall(packages)
    _put(
        prefix / "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nexecutable = /usr/bin/{PYTHON}\n".encode()
    )
    (prefix / "bin").mkdir()
    for name in ("python3", PYTHON):
        (prefix / "bin" / name).symlink_to(f"/usr/bin/{PYTHON}")
    for entry in importlib.metadata.distribution("headnode").entry_points.select(group="console_scripts"):
        script = _SCRIPT.format(prefix=PREFIX, module=entry.module, function=entry.attr)
        _put(prefix / "bin" / entry.name, script.encode())


def _required() -> Iterator[importlib.metadata.Distribution]:
    """Everything that headnode requires, directly or not, with its extras."""
    waiting, seen = [("headnode", extra) for extra in ("", *EXTRAS)], set[tuple[str, str]]()
    names: dict[str, None] = {}
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        names[name.lower().replace("_", "-")] = None
        for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, each) for each in ("", *requirement.extras)]
    del names["headnode"]
    return map(importlib.metadata.distribution, sorted(names))


def _lay_system_files(stage: Path) -> None:
    for path in sorted((ROOT / "systemd").iterdir()):
        if path.suffix in (".service", ".target"):
            _put(stage / UNITS / path.name, path.read_bytes())
        elif path.suffix == ".example":
            _put(stage / DOC / "examples" / path.name.removesuffix(".example"), path.read_bytes())
    _put(stage / SYSUSERS, (ROOT / "systemd/headnode.sysusers").read_bytes())
    _put(stage / TMPFILES, (ROOT / "systemd/headnode.tmpfiles").read_bytes())
    _put(stage / MANUAL, gzip.compress((ROOT / "docs/headnode.1").read_bytes(), 9, mtime=0))
    _put(stage / "usr/share/lintian/overrides/headnode", (HERE / "lintian-overrides").read_bytes())
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/headnode").symlink_to(f"/{PREFIX}/bin/headnode")


def _lay_documents(doc: Path, changelog: str) -> None:
    _put(doc / "copyright", (HERE / "copyright").read_bytes())
    _put(doc / "changelog.gz", gzip.compress(changelog.encode(), 9, mtime=0))
    _put(doc / "CHANGELOG.md.gz", gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    _put(doc / "README.md", (ROOT / "README.md").read_bytes())


def _lay_control(stage: Path, facts: Mapping[str, str]) -> None:
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files)
    text = (HERE / "control").read_text(encoding="utf-8")
    for name, value in {**facts, "SIZE": str(size // 1024)}.items():
        text = text.replace(f"@{name}@", value)
    _put(stage / "DEBIAN/control", text.encode())
    sums = "".join(f"{_md5(path)}  {path.relative_to(stage)}\n" for path in files)
    _put(stage / "DEBIAN/md5sums", sums.encode())
    for name in ("postinst", "prerm", "postrm"):
        _put(stage / "DEBIAN" / name, (HERE / name).read_bytes())


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()  # the format's own


def _set_modes(stage: Path) -> None:
    """Whatever this user's umask is."""
    for path in [stage, *stage.rglob("*")]:
        if path.is_symlink():
            continue
        is_program = path.is_dir() or path.parent.name == "bin" or path.name in ("postinst", "prerm", "postrm")
        path.chmod(0o755 if is_program else 0o644)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _told(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
