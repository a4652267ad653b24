"""Strings from outside become names here, or are refused. Nothing that passed can hold an option, a newline or a path."""

import ipaddress
import re
from collections.abc import Callable

from daemons.errors import InvalidValue
from daemons.model import FleetName, Hostname, InstanceId

_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INSTANCE_TYPE = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\.[a-z0-9][a-z0-9-]{0,30}")
_FLEET = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_GROUP = re.compile(r"[!-9;-~]{1,255}")  # AWS allows every printable ASCII character but the colon
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def _match(pattern: re.Pattern[str], value: object, what: str, example: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidValue(f"{value!r:.80} is not {what} (such as {example})", value=repr(value)[:80])
    return value


def parse_instance_id(value: object) -> InstanceId:
    """Raises InvalidValue unless it is `i-` and 8 or 17 hexadecimal digits."""
    return InstanceId(_match(_INSTANCE_ID, value, "an EC2 instance id", "i-0c9f3a52c7de10001"))


def parse_hostname(value: object) -> Hostname:
    """The first label of a host name, lower case: what schedulers call a node. Raises InvalidValue for anything odd."""
    if not isinstance(value, str) or len(value) > 253:
        raise InvalidValue(f"{value!r:.80} is not a host name", value=repr(value)[:80])
    labels = value.lower().split(".")
    for label in labels:
        _match(_LABEL, label, "a host name's label", "ip-10-0-1-23")
    return Hostname(labels[0])


def parse_address(value: object) -> str:
    """A numeric IPv4 or IPv6 address in its normal form. Raises InvalidValue."""
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError as err:
        raise InvalidValue(f"{value!r:.80} is not an IP address", value=repr(value)[:80]) from err


def parse_instance_type(value: object) -> str:
    """Raises InvalidValue unless it reads like an EC2 instance type."""
    return _match(_INSTANCE_TYPE, value, "an EC2 instance type", "c5.2xlarge")


def parse_fleet_name(value: object) -> FleetName:
    """Raises InvalidValue unless it is a lower-case word of at most 63 letters, digits, `-` and `_`."""
    return FleetName(_match(_FLEET, value, "a fleet name", "batch"))


def parse_group_name(value: object) -> str:
    """Raises InvalidValue unless Auto Scaling would take it as a group's name: up to 255 printable ASCII characters, no colon."""
    return _match(_GROUP, value, "an Auto Scaling group's name", "hpc-compute")


def parse_word(value: object) -> str:
    """A partition, queue, feature or consumable: letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`."""
    return _match(_WORD, value, "a plain word", "compute")


def parse_match(pattern: str, what: str) -> Callable[[object], str]:
    """A parser that wants all of a string to match."""
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise InvalidValue(f"{value!r:.80} is not {what}", value=repr(value)[:80])
        return value

    return parse
