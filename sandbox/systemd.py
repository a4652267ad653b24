"""A real systemd that manages units of ours and nothing else: in namespaces of its own, on a root that vanishes with it.

Needs root, and the `name=systemd` cgroup hierarchy. Its root is a tmpfs with this machine's /usr read-only; there are none of
systemd's own units, so that nothing of it configures this machine's kernel. The network is shared.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = Path("/lib/systemd/systemd")
_CGROUPS = Path("/sys/fs/cgroup/systemd")
_TARGET = "sandbox.target"
# Targets that a service needs by default; empty ones are enough.
_TARGETS = ("sysinit", "basic", "network-online", "shutdown", "umount", _TARGET.removesuffix(".target"))
_USER_ID = 990
_START_S = 30.0

_LAY_OUT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {root}
cd {root}
mkdir -p usr etc/systemd run tmp proc sys dev var/lib var/log root
for name in bin lib lib32 lib64 sbin; do if [ -e /usr/$name ]; then ln -s usr/$name $name; fi; done
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs tmpfs usr/lib/systemd/system
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs tmpfs sys
mkdir -p sys/fs/cgroup
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
for name in run tmp dev; do mount -t tmpfs tmpfs $name; done
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
cp -r {units} etc/systemd/system
cp {files}/passwd {files}/group {files}/machine-id etc
{binds}
# As on any machine that systemd has booted: credentials are mounted elsewhere, and come to the service by propagation.
mount --make-rshared .
exec chroot . {program} --system --unit={target} --log-target=console --show-status=false --default-standard-output=null
"""


def can_run() -> str:
    """Why it cannot, or ""."""
    if os.geteuid() != 0:
        return "only root can start a manager in namespaces of its own"
    if not _PROGRAM.exists():
        return "systemd is not installed (Debian: systemd)"
    if not os.access(_CGROUPS, os.W_OK) or not (_CGROUPS / "cgroup.procs").exists():
        return "this machine has no cgroup hierarchy of the name systemd"
    missing = [tool for tool in ("unshare", "nsenter", "chroot") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A directory of this machine, inside."""

    outside: Path
    inside: str
    writable: bool = False


@dataclass(slots=True, kw_only=True)
class Manager:
    """`units` are files of /etc/systemd/system by name, drop-ins included (`x.service.d/y.conf`). The one user besides root is
    `headnode`. Everything is in `directory`, whose path is best short.
    """

    directory: Path
    units: Mapping[str, str]
    binds: tuple[Bind, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def user_id(self) -> int:
        """Of `headnode`."""
        return _USER_ID

    def start(self) -> None:
        """Back when it answers. Raises OSError with its last words otherwise."""
        script = self._lay_out()
        self._cgroup.mkdir()
        enter = (
            f'echo $$ >{shlex.quote(str(self._cgroup / "cgroup.procs"))}; exec unshare -m -p -f -C -u -i --kill-child sh -c "$1"'
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", enter, "sh", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        give_up_at = time.monotonic() + _START_S
        while self.ctl("is-active", _TARGET).stdout.strip() != "active":
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.stop()
                raise OSError(f"the manager did not start: {self._log.read_text()[-500:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Everything of it ends at once. Repeatable."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None
        give_up_at = time.monotonic() + _START_S
        while self._cgroup.exists() and time.monotonic() < give_up_at:
            for path in sorted(self._cgroup.rglob("*/"), reverse=True):
                _remove(path)
            _remove(self._cgroup)
            time.sleep(0.05)

    def run(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command inside. Any exit code is fine."""
        if (number := self._init()) is None:
            return subprocess.CompletedProcess(argv, 1, "", "there is no manager")
        enter = ["nsenter", f"--target={number}", "-m", "-p", "-u", "-i", "-C", "-r", "-w"]
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
        return subprocess.run([*enter, *argv], env=environment, check=False, capture_output=True, text=True, timeout=timeout_s)

    def ctl(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--no-pager", *argv, timeout_s=timeout_s)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.ctl("show", "--property", name, "--value", unit).stdout.strip()

    @property
    def _cgroup(self) -> Path:
        return _CGROUPS / f"headnode-{self.directory.name}"

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _init(self) -> int | None:
        """The manager's process, as this machine numbers it: the only child of `unshare`."""
        if self._process is None:
            return None
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _lay_out(self) -> str:
        root, units, files = (self.directory / name for name in ("root", "units", "files"))
        for path in (root, units, files):
            path.mkdir(parents=True, exist_ok=True)
        for name, text in {**{f"{one}.target": "[Unit]\nDefaultDependencies=no\n" for one in _TARGETS}, **self.units}.items():
            (units / name).parent.mkdir(parents=True, exist_ok=True)
            (units / name).write_text(text)
        (files / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\nheadnode:x:{_USER_ID}:{_USER_ID}::/nonexistent:/bin/false\n")
        (files / "group").write_text(f"root:x:0:\nheadnode:x:{_USER_ID}:\n")
        (files / "machine-id").write_text("0" * 31 + "1\n")
        quoted = {name: shlex.quote(str(path)) for name, path in (("root", root), ("units", units), ("files", files))}
        binds = "\n".join(line for bind in self.binds for line in _render(bind))
        return _LAY_OUT.format(**quoted, binds=binds, program=_PROGRAM, target=_TARGET)


def _render(bind: Bind) -> Iterator[str]:
    inside = shlex.quote(bind.inside.lstrip("/"))
    yield f"mkdir -p {inside}"
    yield f"mount --bind {shlex.quote(str(bind.outside))} {inside}"
    if not bind.writable:
        yield f"mount -o remount,bind,ro {inside}"


def _remove(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return  # a process in it has not ended yet


def python_inside(directory: Path) -> tuple[Bind, ...]:
    """This interpreter, its packages and this checkout, where no unit's `ProtectHome` hides them; and in /opt/headnode/bin
    programs that run with them, which are written to `directory`.
    """
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    modules = {name: f"-m {name}" for name in ("sqswatcher", "jobwatcher", "nodewatcher")}
    modules["headnode-agent"] = "-m nodewatcher.agent"
    for name, words in {**modules, "headnode": "-c 'from daemons.cli import main; main()'"}.items():
        path = programs / name
        path.write_text(
            "#!/bin/sh\nexport LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/headnode/src:/opt/headnode/packages"
            f' PYTHONDONTWRITEBYTECODE=1\nexec /opt/python/bin/{version} {words} "$@"\n'
        )
        path.chmod(0o755)
    return (
        Bind(outside=Path(sys.base_prefix), inside="/opt/python"),
        Bind(outside=Path(packages), inside="/opt/headnode/packages"),
        Bind(outside=Path(__file__).parents[1], inside="/opt/headnode/src"),
        Bind(outside=programs, inside="/opt/headnode/bin"),
    )
