"""A file of somebody else's is replaced whole: who reads it sees the old or the new, and its owner, mode and labels stay."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from daemons.errors import HeadnodeError

_ROOT = "run it as root, or as the file's owner"
_LACKING = (errno.ENOTSUP, errno.ENODATA)  # this file system, or this file, has none


class NotRewritten(HeadnodeError):
    """The file is as it was."""

    code = "not-rewritten"


def rewrite(path: Path, before: bytes, after: bytes) -> None:
    """Put `after` where `before` is, through symbolic links. Raises NotRewritten where that cannot be done whole, or where the
    file no longer is `before`.
    """
    try:
        _replace(path.resolve(strict=True), before, after)
    except OSError as err:
        hint = _ROOT if isinstance(err, PermissionError) else "edit it by hand, and reload the services"
        raise NotRewritten(f"{path} cannot be replaced: {err.strerror or err}", hint=hint) from err


def _replace(path: Path, before: bytes, after: bytes) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        what = "it has another name besides (a hard link)" if stat.S_ISREG(found.st_mode) else "it is no plain file"
        raise NotRewritten(f"{path} cannot be replaced: {what}", hint="edit it by hand, and reload the services")
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with open(number, "wb") as file:  # noqa: PTH123  it is open already
            _look_alike(number, path, found)
            file.write(after)
            file.flush()
            os.fsync(number)
        if path.read_bytes() != before:
            raise NotRewritten(f"somebody else has changed {path} meanwhile", hint="try again")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _keep(path.parent)


def _look_alike(number: int, path: Path, found: os.stat_result) -> None:
    own = os.fstat(number)
    if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(number, found.st_uid, found.st_gid)
    os.fchmod(number, stat.S_IMODE(found.st_mode))
    for label in _labels(path):
        value = os.getxattr(path, label)
        if label not in _labels(number) or os.getxattr(number, label) != value:
            os.setxattr(number, label, value)


def _labels(file: Path | int) -> list[str]:
    """Access lists, SELinux's labels and the like, by name."""
    try:
        return os.listxattr(file)
    except OSError as err:
        if err.errno in _LACKING:
            return []
        raise


def _keep(directory: Path) -> None:
    """The new name is on disk too."""
    with contextlib.suppress(OSError):
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
