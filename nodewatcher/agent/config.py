"""The agent's own small configuration file, `/etc/headnode/agent.toml` on compute nodes."""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from daemons.errors import ConfigError, InvalidValue
from daemons.names import parse_match

DEFAULT_PATH = Path("/etc/headnode/agent.toml")
_LARGEST_FILE = 1 << 16
_LONGEST_S = 30 * 86_400.0

Check = Callable[[object], Any]


def _text(pattern: str, what: str) -> Check:
    return parse_match(pattern, what)


def _number(least: float, most: float) -> Check:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and least <= value <= most):
            raise InvalidValue(f"{value!r:.80} is no number from {least:g} to {most:g}")
        return float(value)

    return check


def _whole(least: int, most: int) -> Check:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidValue(f"{value!r:.80} is no whole number from {least} to {most}")
        return value

    return check


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{value!r:.80} is neither true nor false")
    return value


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word and "\0" not in word for word in value):
        raise InvalidValue(f'{value!r:.80} is no list of a program and its arguments (such as ["/sbin/shutdown", "-h", "now"])')
    if not value[0].startswith("/"):
        raise InvalidValue(f"{value[0]!r:.80} is no absolute path of a program")
    return tuple(value)


_FILE = _text(
    r"/[^\0]{0,1023}|credential:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", "an absolute path, nor a credential:NAME of systemd's"
)
_URL = _text(r"https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?", "a plain URL")
_ONE_LEVEL = r"[A-Za-z0-9_-]{1,64}"


def setting(check: Check, **default: Any) -> Any:
    """A field with the check of its value."""
    return field(metadata={"check": check}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBroker:
    """`[mqtt]`: where the broker is. Without `username`, and with a password, the node's user is named like its instance."""

    host: str = setting(_text(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?", "a host"))
    port: int = setting(_whole(1, 65_535), default=1883)
    topic: str = setting(_text(_ONE_LEVEL, "one level of a topic"), default="headnode")
    username: str = setting(_text(r"[^\0:]{1,256}", "a user's name"), default="")
    password_file: str = setting(_FILE, default="")
    tls: bool = setting(_flag, default=False)
    ca_file: str = setting(_FILE, default="")
    cert_file: str = setting(_FILE, default="")
    key_file: str = setting(_FILE, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The file. `head_silent_s` above 0 turns the dead-man rule on."""

    cluster: str = setting(_text(_ONE_LEVEL, "a cluster's name"))
    region: str = setting(_text(r"[a-z]{2,5}(-[a-z0-9]+){2,4}", "an AWS region"))
    queue: str = setting(_text(r"[A-Za-z0-9_.:/-]{1,512}", "the name or URL of an SQS queue"))
    table: str = setting(_text(r"[A-Za-z0-9_.-]{3,255}", "a DynamoDB table's name"))
    slots: int = setting(_whole(1, 65_535), default=0)  # 0: as many as the machine has CPUs
    interval_s: float = setting(_number(0.1, 3600), default=10.0)  # between two readings
    notice_interval_s: float = setting(_number(0.1, 3600), default=5.0)  # between two looks for notices
    head_silent_s: float = setting(_number(0, _LONGEST_S), default=0.0)
    idle_cpu_share: float = setting(_number(0, 1), default=0.05)  # from this share of busy CPU time it is not idle; 1: never mind
    shutdown: tuple[str, ...] = setting(_argv, default=("/sbin/shutdown", "-h", "now"))
    log_level: str = setting(_text(r"debug|info|warning|error", "one of debug, info, warning, error"), default="info")
    imds: str = setting(_URL, default="http://169.254.169.254")
    endpoint: str = setting(_URL, default="")  # another address for all of AWS's services
    mqtt: AgentBroker | None = None


def load_agent_config(path: Path) -> AgentConfig:
    """The file's settings. Raises ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as err:
        hint = "write it (cluster, region, queue, table, [mqtt]), or name another with --config"
        raise ConfigError(f"{path} cannot be read: {err}", problems=(f"{path}: {err}",), hint=hint) from err
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"{path} is larger than {_LARGEST_FILE >> 10} KiB", hint="is this the right file?")
    return parse_agent_config(text, source=str(path))


def parse_agent_config(text: str, *, source: str = "configuration") -> AgentConfig:
    """The settings of this text. Raises ConfigError with every problem of it."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        raise ConfigError(
            f"{source} is not valid TOML: {err}", problems=(f"{source}: {err}",), hint="see https://toml.io"
        ) from err
    problems: list[str] = []
    broker = raw.pop("mqtt", None)
    checked = _checked(AgentConfig, raw, "", problems)
    if broker is not None:
        checked["mqtt"] = _checked(AgentBroker, broker, "mqtt.", problems) if isinstance(broker, dict) else None
        if checked["mqtt"] is None:
            problems.append("mqtt: is no table")
        else:
            problems += _pairs(checked["mqtt"])
    if problems:
        raise ConfigError(
            f"{source} cannot be used: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""),
            problems=tuple(problems),
            hint="correct the file and start the agent again",
        )
    if broker is not None:
        checked["mqtt"] = AgentBroker(**checked["mqtt"])
    return AgentConfig(**checked)


def _checked(kind: type[AgentConfig | AgentBroker], raw: Mapping[str, Any], under: str, problems: list[str]) -> dict[str, Any]:
    """The values that pass, with a problem for each that does not, is not known, or is missing."""
    known = {each.name: each for each in fields(kind) if "check" in each.metadata}
    problems += [f"{under}{name}: no such setting" for name in raw if name not in known]
    good: dict[str, Any] = {}
    for name, each in known.items():
        if name not in raw:
            if not isinstance(each.default, str | int | float | tuple):
                problems.append(f"{under}{name}: is missing")
            continue
        if raw[name] == each.default and type(raw[name]) is type(each.default):
            continue  # as the example has it: an empty path is none
        try:
            good[name] = each.metadata["check"](raw[name])
        except InvalidValue as err:
            problems.append(f"{under}{name}: {err}")
    return good


def _pairs(broker: Mapping[str, Any]) -> list[str]:
    """What is of no use alone."""
    needs = (("username", "password_file"), ("cert_file", "key_file"), ("key_file", "cert_file"), ("ca_file", "tls"))
    return [f"mqtt.{one}: is set, and {other} is not" for one, other in needs if broker.get(one) and not broker.get(other)]
