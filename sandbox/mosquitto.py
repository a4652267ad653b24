"""A throw-away Mosquitto on a port of its own."""

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.slurm.host import free_ports

_START_S = 10.0


def find_mosquitto() -> str | None:
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@dataclass(kw_only=True)
class Mosquitto:
    """One broker in `directory`, on this machine's loopback. `users` are names with passwords (none: everybody may), `acl` is an
    ACL file's text, `tls` are the paths of certificate and key.
    """

    directory: Path
    users: Mapping[str, str] = field(default_factory=dict)
    acl: str = ""
    tls: tuple[Path, Path] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    conf: Path | None = None  # a file with all that is not about who runs it: listener, users, ACL
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Back when it listens. Raises OSError with its last words if it does not."""
        program = find_mosquitto()
        if program is None:
            raise OSError("mosquitto is not installed")
        self.port = self.port or free_ports(1)[0]
        self.directory.mkdir(parents=True, exist_ok=True)
        conf = self.directory / "mosquitto.conf"
        conf.write_text("\n".join([*self._lines(), ""]))
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.env) or None
            )
        give_up_at = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise OSError(f"mosquitto did not start: {(self.directory / 'mosquitto.log').read_text(errors='replace')[-500:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Repeatable."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _lines(self) -> Sequence[str]:
        """Whose file it is it minds: it drops to another user where root starts it, unless told who it is."""
        lines = ["user root", "persistence false"]
        if self.conf is not None:
            return [*lines, self.conf.read_text()]
        lines += ["per_listener_settings true", f"listener {self.port} 127.0.0.1"]
        lines.append(f"allow_anonymous {'false' if self.users else 'true'}")
        if self.users:
            passwords = self.directory / "passwords"
            passwords.write_text("".join(f"{name}:{password}\n" for name, password in self.users.items()))
            passwords.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if self.acl:
            acl = self.directory / "acl"
            acl.write_text(self.acl)
            lines.append(f"acl_file {acl}")
        if self.tls:
            lines += [f"certfile {self.tls[0]}", f"keyfile {self.tls[1]}"]
        return lines

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False
