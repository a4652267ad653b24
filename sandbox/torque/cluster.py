"""The emulated cluster, as tests and plugin authors drive it. Jobs are submitted and looked at with its own commands."""

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.torque.command import locked
from sandbox.torque.state import State, finish

PROGRAMS = ("qmgr", "pbsnodes", "qstat", "qsub", "qdel", "qrerun", "qhold", "qrls")
_ROOT = Path(__file__).parents[2]
_WRAPPER = """#!/bin/sh
PYTHONPATH='{root}' exec '{python}' -S -c 'import sys; from sandbox.torque.command import main; sys.exit(main(sys.argv[1:]))' \\
    '{directory}' {program} "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTorque:
    """The state is a file in `directory`, the commands are in its `bin`. Time is this machine's, and can be set forward.

    `young_s` is how long a created node is nobody's (nine seconds in a real one), `delete_s` how long one deletion takes (two).
    """

    directory: Path
    young_s: float = 0.0
    delete_s: float = 0.0

    def start(self) -> None:
        """An empty server with a queue. Raises OSError where the directory cannot be made."""
        (self.directory / "bin").mkdir(parents=True)
        (self.directory / "state").write_bytes(pickle.dumps(State(young_s=self.young_s, delete_s=self.delete_s)))
        (self.directory / "skew").write_text("0")
        for program in PROGRAMS:
            path = self.directory / "bin" / program
            path.write_text(_WRAPPER.format(root=_ROOT, python=sys.executable, directory=self.directory, program=program))
            path.chmod(0o755)

    @property
    def bin(self) -> str:
        return str(self.directory / "bin")

    def run(self, program: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """One of its commands, to its end."""
        return subprocess.run([f"{self.bin}/{program}", *argv], capture_output=True, text=True, check=False, timeout=60)

    def submit(self, *argv: str) -> str:
        """`qsub`; the job's id. Raises OSError with its words if it is refused."""
        answer = self.run("qsub", *argv)
        if answer.returncode:
            raise OSError(answer.stderr.strip())
        return answer.stdout.strip()

    def boot(self, *names: str) -> None:
        """The moms of these hosts begin to run."""
        with self.changed() as state:
            state.moms += [name for name in names if name not in state.moms]

    def kill(self, *names: str) -> None:
        with self.changed() as state:
            state.moms = [name for name in state.moms if name not in names]

    def finish(self, job: str) -> None:
        """The job is over."""
        with self.changed() as state:
            finish(state, state.jobs[job])

    def later(self, period_s: float) -> None:
        """Time goes by."""
        skew = self.directory / "skew"
        skew.write_text(str(float(skew.read_text()) + period_s))

    def now(self) -> float:
        return time.time() + float((self.directory / "skew").read_text())

    @contextmanager
    def changed(self) -> Iterator[State]:
        """The state, to look at or to change by hand; afterwards the scheduler has its turn."""
        with locked(self.directory) as state:
            yield state

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """pbs_server is stopped: commands hang, or give up by PBSAPITIMEOUT."""
        with self._marked("frozen"):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """There is no pbs_server."""
        with self._marked("down"):
            yield

    @contextmanager
    def slow(self, period_s: float) -> Iterator[None]:
        """Commands take effect, and answer that much later."""
        with self._marked("slow", str(period_s)):
            yield

    @contextmanager
    def _marked(self, name: str, text: str = "") -> Iterator[None]:
        path = self.directory / name
        path.write_text(text)
        try:
            yield
        finally:
            path.unlink()
