"""Files that systemd hands to a service (`LoadCredential=`): named `credential:NAME` in a configuration, seen by nobody else."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from daemons.errors import ConfigError

DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)
_NAMED = re.compile(r"credential:([A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})")


def is_credential(text: str) -> bool:
    return _NAMED.fullmatch(text) is not None


def file_of(text: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is: the path itself, or the credential's in this process's own directory. Raises ConfigError where the
    process has none.
    """
    found = _NAMED.fullmatch(text)
    if found is None:
        return Path(text)
    directory, name = environ.get(DIRECTORY, ""), found[1]
    path = Path(directory) / name
    # Where nothing at all was handed over there is no directory, or one that may not be looked into.
    if not directory.startswith("/") or not os.access(path, os.R_OK):
        hint = f"say in the unit (`systemctl edit`), under [Service], where it is: LoadCredential={name}:/its/path"
        raise ConfigError(f"{text}: systemd has not handed it to this process", hint=hint)
    return path
