"""The head of a private Grid Engine: a host name and an /etc of its own, and the qmaster.

Its mount and UTS namespaces live as long as a process that does nothing else. Clients and daemons are run inside them; neither
the machine's own /etc nor that of the private world is touched.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.gridengine import conf
from sandbox.gridengine.host import ADMIN, BINARIES, INSTALLED, SHARED

CLIENTS = ("qconf", "qstat", "qmod", "qdel", "qsub", "qhold", "qrls", "qalter", "qhost", "qrsub")
_ETC = ("passwd", "group", "services", "protocols", "networks", "localtime", "ld.so.cache", "shells")
_BE_HEAD = f'mount --bind "$1" /etc && hostname {conf.HEAD} && echo ready && exec sleep infinity'
_START_S = 20.0


@dataclass(slots=True, kw_only=True)
class Head:
    """Made and ended by a `GridEngineCluster`. `environment` is that of every process."""

    layout: conf.Layout
    environment: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _qmaster: subprocess.Popen[bytes] | None = None
    _logs: list[str] = field(default_factory=list)

    def make(self, hosts: Mapping[str, str]) -> None:
        """The namespaces, with names for these hosts, and a cell without a qmaster. Raises OSError with the last words."""
        self._make_etc(hosts)
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--propagation=private", "sh", "-c", _BE_HEAD, "sh", str(self.layout.etc)],
            env=dict(self.environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        said = self._process.stdout.readline() if self._process.stdout else b""
        if said != b"ready\n":
            raise OSError(f"the head's namespaces could not be made: {said.decode(errors='replace').strip()}")
        self._make_clients()
        self._make_cell()

    @property
    def pid(self) -> int:
        """The process whose namespaces are the head's."""
        if self._process is None:
            raise OSError("the head has not been made")
        return self._process.pid

    def inside(self, *argv: str) -> list[str]:
        """The command line that runs this on the head."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--", *argv]

    def run(self, *argv: str, text: str = "", timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command of Grid Engine on the head, `text` on its standard input. Any exit code is fine."""
        return subprocess.run(
            self.inside(str(BINARIES / argv[0]), *argv[1:]),
            input=text,
            env=dict(self.environment),
            cwd="/",
            text=True,
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )

    def tell(self, *argv: str) -> str:
        """The same, and what it said. Raises OSError if it fails."""
        done = self.run(*argv)
        if done.returncode:
            raise OSError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def start_qmaster(self) -> None:
        """Start the qmaster, with what it saved if it ran before; back when it answers. Raises OSError with its last words."""
        with (self.layout.directory / "qmaster.start").open("ab") as said:
            self._qmaster = subprocess.Popen(
                self.inside(str(BINARIES / "sge_qmaster")),
                env={**self.environment, "SGE_ND": "1"},  # in the foreground
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while self.run("qconf", "-sh").returncode:
            if time.monotonic() > deadline or self._qmaster.poll() is not None:
                raise OSError(f"sge_qmaster did not start: {self._last_words()}")
            time.sleep(0.03)

    def stop_qmaster(self, *, wait_s: float = 1.0) -> None:
        """End the qmaster. Repeatable. It takes eight seconds to end by itself, and each change was saved when it was made."""
        if self._qmaster is not None:
            end(self._qmaster, wait_s=wait_s)
            self._qmaster = None

    @contextlib.contextmanager
    def frozen_qmaster(self) -> Iterator[None]:
        """The qmaster hangs meanwhile: it takes connections and says nothing."""
        if self._qmaster is None:
            raise OSError("the qmaster does not run")
        os.kill(self._qmaster.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._qmaster.pid, signal.SIGCONT)

    def destroy(self) -> None:
        """The head is gone. Repeatable; the directory stays."""
        self.stop_qmaster(wait_s=0.2)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def _make_etc(self, hosts: Mapping[str, str]) -> None:
        """Of the machine's /etc only what names users and services, and nothing secret."""
        etc = self.layout.etc
        etc.mkdir(parents=True, exist_ok=True)
        for name in _ETC:
            if (Path("/etc") / name).exists():
                shutil.copy(Path("/etc") / name, etc / name)
        (etc / "hosts").write_text(conf.render_hosts(hosts))
        (etc / "nsswitch.conf").write_text(conf.render_nsswitch())

    def _make_clients(self) -> None:
        self.layout.bin.mkdir(exist_ok=True)
        for name in CLIENTS:
            script = self.layout.bin / name
            script.write_text(conf.render_client(name, self.pid))
            script.chmod(0o755)

    def _make_cell(self) -> None:
        layout, user = self.layout, pwd.getpwnam(ADMIN)
        for directory in (layout.common, *(layout.spool / name for name in ("spooldb", "qmaster", "execd"))):
            directory.mkdir(parents=True, exist_ok=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (layout.root / name).symlink_to(INSTALLED / name)
        bootstrap = (SHARED / "default-bootstrap").read_text()
        (layout.common / "bootstrap").write_text(conf.with_values(bootstrap, conf.bootstrap_values(layout)))
        (layout.common / "act_qmaster").write_text(f"{conf.HEAD}\n")
        (layout.common / "cluster_name").write_text("headnode\n")
        settings = layout.directory / "global.conf"
        settings.write_text(conf.with_values((SHARED / "default-configuration").read_text(), conf.global_values(layout)))
        for path in (layout.root / conf.CELL, layout.spool):
            for one in (path, *path.rglob("*")):
                os.chown(one, user.pw_uid, user.pw_gid)
        self._spool(settings)

    def _spool(self, settings: Path) -> None:
        """What Debian's init_cluster does: an empty store, then the defaults, root a manager."""
        resources = SHARED / "util" / "resources"
        steps: Sequence[Sequence[str]] = (
            ("spoolinit", "berkeleydb", "libspoolb", f"{self.layout.spool}/spooldb", "init"),
            ("spooldefaults", "configuration", str(settings)),
            ("spooldefaults", "complexes", str(resources / "centry")),
            ("spooldefaults", "usersets", str(resources / "usersets")),
            ("spooldefaults", "managers", ADMIN),
            ("spooldefaults", "managers", "root"),
        )
        become = ("setpriv", f"--reuid={ADMIN}", f"--regid={ADMIN}", "--clear-groups", "--")
        for program, *arguments in steps:
            argv = self.inside(*become, str(BINARIES / program), *arguments)
            done = subprocess.run(
                argv, env=dict(self.environment), cwd="/", text=True, capture_output=True, check=False, timeout=30
            )
            if done.returncode:
                raise OSError(f"{program} {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _last_words(self) -> str:
        paths = [self.layout.directory / "qmaster.start", self.layout.spool / "qmaster" / "messages"]
        texts = [path.read_text(errors="replace") for path in paths if path.exists()]
        return " | ".join(line for text in texts for line in text.splitlines()[-5:])


def end(process: subprocess.Popen[bytes], *, wait_s: float) -> None:
    """Ask a child to end, then make it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
