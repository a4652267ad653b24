"""The three services as processes of their own, started and watched like systemd would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
STOP_S = 20.0


class ServiceDied(Exception):
    """A service's process ended by itself. The message holds the end of its log."""


@dataclass
class Services:
    """The running services. Their logs are JSON lines in `directory`, one file each."""

    directory: Path
    config: Path
    environment: Mapping[str, str]
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _logs: dict[str, IO[str]] = field(default_factory=dict)

    def start(self) -> None:
        for name in SERVICES:
            path = self.directory / f"{name}.log"
            with path.open("wb") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", name, "--config", str(self.config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.environment},
                    start_new_session=True,  # Ctrl-C is the demo's to handle: it stops them in order
                )
            self._logs[name] = path.open()

    def check(self) -> None:
        """Raises ServiceDied if one of them has ended."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                last = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                raise ServiceDied("\n".join([f"{name} ended with exit code {code}; the end of its log:", *last]))

    def events(self) -> Iterator[Mapping[str, Any]]:
        """The log lines written since the last call, oldest first within each service."""
        for log in self._logs.values():
            for line in log:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # a line that is still being written, or a library's plain text
                if isinstance(event, dict):
                    yield event

    def stop(self) -> None:
        """Ask all of them to stop, then insist. Repeatable."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs.values():
            log.close()
        self._processes.clear()
        self._logs.clear()
