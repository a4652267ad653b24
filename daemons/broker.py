"""What Mosquitto has to be told so that a node can speak for itself alone: its ACL, its settings, its users. Pure.

https://mosquitto.org/man/mosquitto-conf-5.html
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence

from daemons.config.values import MqttConfig
from daemons.errors import InvalidValue
from daemons.metrics import Topics
from daemons.names import parse_match

parse_user = parse_match(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "a plain user's name")

_ITERATIONS = 101  # mosquitto_passwd's own default; the passwords are random and long
_ENTRY = re.compile(r"[^:\s][^:]*:\S.*")


def render_acl(topics: Topics, *, services: Sequence[str] = ("headnode",), wakers: Sequence[str] = ()) -> str:
    """The ACL file. `services` are the users of the head's services, `wakers` may wake jobwatcher; every other user is a node,
    named like its instance, and speaks under that name alone. Raises InvalidValue for a name that is no plain word.

    Mosquitto applies a `pattern` to every user, so patterns grant what a node may do and nothing else.
    """
    nodes = f"{topics.first}/{topics.cluster}/nodes"
    lines = ["# A node publishes under its own name (%u) and hears the head.", f"pattern write {nodes}/%u/state"]
    lines += [f"pattern write {nodes}/%u/reading", f"pattern read {topics.head}"]
    for service in services:
        lines += ["", f"user {parse_user(service)}", f"topic read {topics.wake}", f"topic read {nodes}/+/state"]
        lines += [f"topic read {nodes}/+/reading", f"topic write {nodes}/+/state", f"topic write {topics.head}"]
        lines += [f"topic write {topics.wake}"]
    for waker in wakers:
        lines += ["", f"user {parse_user(waker)}", f"topic write {topics.wake}"]
    return "\n".join([*lines, ""])


def render_conf(
    config: MqttConfig, *, acl_file: str, passwords: str, cert_file: str = "", key_file: str = "", client_ca: str = ""
) -> str:
    """The broker's settings for one listener on the configuration's port. With `client_ca` a certificate that it has signed lets
    in whom it names, and nothing else does. Thousands of nodes may speak while nodewatcher thinks: what waits for it is bounded
    by bytes, not by Mosquitto's thousand messages.
    """
    lines = ["per_listener_settings true", f"listener {config.port}", "allow_anonymous false"]
    lines += [f"acl_file {acl_file}"]
    if client_ca:
        lines += [f"cafile {client_ca}", "require_certificate true", "use_identity_as_username true"]
    else:
        lines += [f"password_file {passwords}"]
    if config.tls:
        lines += [f"certfile {cert_file}", f"keyfile {key_file}", "tls_version tlsv1.2"]
    lines += ["max_packet_size 8192", "max_queued_messages 0", "max_queued_bytes 67108864", "max_inflight_messages 1000"]
    return "\n".join([*lines, ""])


def with_user(text: str, user: str, password: str, *, salt: bytes) -> str:
    """The password file's text with this user, new or changed. Raises InvalidValue for names that cannot be there."""
    users = {**read_users(text), parse_user(user): hash_password(password, salt=salt)}
    return "".join(f"{name}:{hashed}\n" for name, hashed in users.items())


def without_users(text: str, gone: Sequence[str]) -> str:
    """The password file's text without these users; those that are not there are no error."""
    return "".join(f"{name}:{hashed}\n" for name, hashed in read_users(text).items() if name not in gone)


def read_users(text: str) -> Mapping[str, str]:
    """The hashed passwords by user. Raises InvalidValue with the number of the line that is none."""
    users = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if not _ENTRY.fullmatch(line):
            raise InvalidValue(f"line {number} of the password file is no USER:HASH")
        name, _, hashed = line.partition(":")
        users[name] = hashed
    return users


def hash_password(password: str, *, salt: bytes) -> str:
    """As mosquitto_passwd of Mosquitto 2 writes it: PBKDF2 with SHA-512."""
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
