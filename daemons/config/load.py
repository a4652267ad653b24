"""Finds and reads the configuration file."""

from collections.abc import Mapping
from pathlib import Path

from daemons.config.parse import LoadSettings, Reading, read_config
from daemons.config.problems import Problem
from daemons.config.values import Config

DEFAULT_PATH = Path("/etc/headnode/headnode.toml")
ENVIRONMENT = "HEADNODE_CONFIG"
LARGEST_FILE = 1 << 20


def config_path(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The file to read: the one named, else the environment's, else the usual one."""
    return path or Path(environ.get(ENVIRONMENT) or DEFAULT_PATH)


def load_config(path: Path | None, environ: Mapping[str, str], *, load_settings: LoadSettings) -> Config:
    """The configuration in the file that `config_path` finds. Raises ConfigError with every problem of it, or with the one that
    kept it from being read.
    """
    return read_file(config_path(path, environ), load_settings=load_settings).unwrap()


def read_file(path: Path, *, load_settings: LoadSettings) -> Reading:
    """What the file says, or everything that is wrong with it. Raises nothing, whatever the file is."""
    text = _read_text(path)
    if isinstance(text, Problem):
        return Reading(source=str(path), problems=(text,), raw={})
    return read_config(text, load_settings=load_settings, source=str(path))


def _read_text(path: Path) -> str | Problem:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        hint = f"create it (see headnode.toml.example), or name another with --config or {ENVIRONMENT}"
        return Problem(path=str(path), wrong="does not exist", hint=hint)
    except PermissionError:
        return Problem(path=str(path), wrong="may not be read by this user", hint="run as root, or let this user read it")
    except IsADirectoryError:
        return Problem(path=str(path), wrong="is a directory", hint="name the file itself")
    except OSError as err:
        return Problem(path=str(path), wrong=f"cannot be read: {err.strerror or err}")
    if len(content) > LARGEST_FILE:
        return Problem(path=str(path), wrong=f"is larger than {LARGEST_FILE >> 20} MiB", hint="is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        return Problem(path=str(path), wrong=f"is not UTF-8 at line {line} (byte {err.start})", hint="save it as UTF-8")
