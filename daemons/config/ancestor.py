"""The node daemons' files of AWS ParallelCluster 2.x as headnode's one file. Pure: texts in, text out.

Names and meanings as in its releases up to 2.11: three INI files of one section each, and cfnconfig, a shell file of assignments,
which is read and never run.
"""

import configparser
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from daemons.errors import ConfigError

SECTIONS = ("sqswatcher", "jobwatcher", "nodewatcher")
CFNCONFIG = "cfnconfig"
_SCHEDULERS = ("slurm", "sge", "torque")
_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "WARN": "warning", "ERROR": "error", "CRITICAL": "error"}
_NO_COUNTERPART: Mapping[str, str] = {
    "cluster_user": "headnode runs nothing on compute nodes as a user",
    "cfncluster_dir": "headnode needs no directory of the ancestor's",
    "max_processed_messages": "a poll takes what there is; see sqswatcher.receivers",
    "proxy": "set HTTPS_PROXY in the services' environment",
}
_NOTHING = ("", "NONE", "None", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value and where it stands: `/etc/sqswatcher.cfg [sqswatcher] region`."""

    section: str
    key: str
    value: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that is not taken over, or that has to be said by hand."""

    where: str
    words: str

    def __str__(self) -> str:
        return f"{self.where}: {self.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the ancestor looked up and never wrote down: its one Auto Scaling group."""

    group: str = ""
    instance_type: str = ""
    cpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The new file's text, what has no counterpart there, and what it leaves to be filled in."""

    toml: str
    left_out: tuple[Remark, ...]
    to_fill_in: tuple[Remark, ...]


def import_ancestor(files: Sequence[tuple[str, str]], fleet: Fleet | None = None) -> Imported:
    """`files` are (name, text). Raises ConfigError with every problem: a file that cannot be read as either kind, what is
    missing, and values of one name that differ from file to file. Nothing is guessed.
    """
    problems: list[str] = []
    settings = [setting for name, text in files for setting in _settings(name, text, problems)]
    known = {key: _only(settings, key, problems) for key in ("region", "scheduler", "stack_name", "sqsqueue", "table_name")}
    missing = [key for key in ("region", "scheduler", "stack_name", "sqsqueue") if known[key] is None]
    problems += [f"{key}: none of the files says it; is /etc/sqswatcher.cfg among them?" for key in missing]
    scheduler = known["scheduler"]
    if scheduler is not None and scheduler.value not in _SCHEDULERS:
        problems.append(f"{scheduler.where}: headnode has no plugin for {scheduler.value!r}; there are {', '.join(_SCHEDULERS)}")
    idle = _only(settings, "scaledown_idletime", problems)
    if idle is not None and not (idle.value.isascii() and idle.value.isdecimal()):
        problems.append(f"{idle.where}: must be a whole number of minutes (it is {idle.value!r})")
    levels = [each for each in settings if each.key == "loglevel" and each.value.upper() not in _LEVELS]
    problems += [f"{each.where}: must be one of {', '.join(_LEVELS)} (it is {each.value!r})" for each in levels]
    if problems:
        raise ConfigError(
            f"the ancestor's configuration cannot be taken over: {len(problems)} problem{'s' * (len(problems) != 1)}",
            problems=tuple(problems),
            hint="correct the files, or write headnode.toml by hand; nothing was written",
        )
    words = {key: setting.value for key, setting in known.items() if setting is not None}
    filled, to_fill_in = _fleet(settings, fleet or Fleet())
    lines = [
        *_pairs(cluster=words["stack_name"], region=words["region"], queue=words["sqsqueue"]),
        *_pairs(table=words.get("table_name", words["stack_name"])),
        "",
        "[scheduler]",
        *_pairs(name=words["scheduler"]),
        "",
        "[[fleet]]",
        *filled,
    ]
    if idle is not None:
        lines += ["", "[nodewatcher]", f"idle_for_s = {int(idle.value) * 60}.0"]
    if level := _least_severe(settings):
        lines += ["", "[log]", *_pairs(level=level)]
    return Imported(toml="\n".join([*lines, ""]), left_out=tuple(_left_out(settings)), to_fill_in=tuple(to_fill_in))


def _settings(name: str, text: str, problems: list[str]) -> Iterator[Setting]:
    if any(line.lstrip().startswith("[") for line in text.splitlines()):
        yield from _ini(name, text, problems)
    else:
        yield from _shell(name, text, problems)


def _ini(name: str, text: str, problems: list[str]) -> Iterator[Setting]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text, source=name)
    except configparser.Error as err:
        problems.append(f"{name}: {' '.join(str(err).split())}")
        return
    for section in parser.sections():
        if section not in SECTIONS:
            problems.append(f"{name} [{section}]: is no section of the ancestor's; there are {', '.join(SECTIONS)}")
            continue
        for key, value in parser.items(section):
            yield Setting(section=section, key=key, value=value.strip(), where=f"{name} [{section}] {key}")


def _shell(name: str, text: str, problems: list[str]) -> Iterator[Setting]:
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if not key or key.startswith("#") or (equals and key.isidentifier() and value.startswith("(")):
            continue  # arrays are other programs' arguments
        try:
            words = shlex.split(value, comments=True)
        except ValueError as err:
            problems.append(f"{name}:{number}: {err}: {line.strip()[:80]!r}")
            continue
        if not (equals and key.isidentifier()) or len(words) > 1:
            problems.append(f"{name}:{number}: is no assignment: {line.strip()[:80]!r}")
            continue
        yield Setting(section=CFNCONFIG, key=key, value=words[0] if words else "", where=f"{name}:{number} {key}")


def _only(settings: Sequence[Setting], key: str, problems: list[str]) -> Setting | None:
    """The one value of that name; an empty one is none. Files that differ are a problem."""
    found = [each for each in settings if each.section != CFNCONFIG and each.key == key and each.value not in _NOTHING]
    if len({each.value for each in found}) > 1:
        said = "; ".join(f"{each.where} is {each.value!r}" for each in found)
        problems.append(f"{key}: the files differ: {said}")
    return found[0] if found else None


def _fleet(settings: Sequence[Setting], given: Fleet) -> tuple[list[str], list[Remark]]:
    """The lines of the fleet; what nobody has said stays empty, so that `headnode config check` insists on it."""
    remarks: list[Remark] = []
    types = {name for each in settings if each.key == "instance_types_data" for name in _types(each.value)}
    instance_type = given.instance_type or (types.pop() if len(types) == 1 else "")
    slots = next((each for each in settings if each.section == CFNCONFIG and each.key == "cfn_scheduler_slots"), None)
    cpus = given.cpus or (int(slots.value) if slots is not None and slots.value.isascii() and slots.value.isdecimal() else 0)
    if not given.group:
        remarks.append(Remark(where="fleet.group", words="the name of the Auto Scaling group; the ancestor found it by its tag"))
    if not instance_type:
        remarks.append(Remark(where="fleet.instance_type", words="the EC2 type of its instances; the ancestor asked AWS for it"))
    if not cpus:
        told = f" ({slots.where} is {slots.value!r})" if slots is not None else ""
        remarks.append(Remark(where="fleet.cpus", words=f"CPUs of one instance, as the scheduler counts them{told}"))
    lines = _pairs(name="compute", group=given.group, instance_type=instance_type)
    return [*lines, f"cpus = {cpus}"], remarks


def _types(text: str) -> tuple[str, ...]:
    """The instance types that `instance_types_data` is about: JSON by type; it may be empty."""
    try:
        data = json.loads(text)
    except ValueError:
        return ()
    return tuple(data) if isinstance(data, dict) else ()


def _least_severe(settings: Sequence[Setting]) -> str:
    """The ancestor has a level for each daemon, headnode one for all: the one that says most."""
    order = ("debug", "info", "warning", "error")
    levels = [_LEVELS[each.value.upper()] for each in settings if each.key == "loglevel"]
    return min(levels, key=order.index, default="")


def _left_out(settings: Sequence[Setting]) -> Iterator[Remark]:
    taken = {"region", "scheduler", "stack_name", "sqsqueue", "table_name", "scaledown_idletime", "loglevel"}
    for each in settings:
        if each.section == CFNCONFIG:
            continue  # most of it is the cookbook's, and none of headnode's business
        if each.key in ("proxy", "instance_types_data") and (each.value in _NOTHING or each.key != "proxy"):
            continue
        if each.key not in taken:
            yield Remark(where=each.where, words=_NO_COUNTERPART.get(each.key, "is not known, and was left out"))


def _pairs(**words: str) -> list[str]:
    """Strings as TOML has them; JSON's are."""
    return [f"{key} = {json.dumps(value)}" for key, value in words.items()]
