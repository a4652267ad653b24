"""From the text of the configuration file to a `Config`, or to everything that is wrong with it. Pure."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from daemons.config.problems import Location, Problem, describe, render_path, render_value
from daemons.config.values import Config, EndpointsEntry, FileEntry, HaConfig, SchedulerConfig
from daemons.errors import ConfigError

LoadSettings = Callable[[str], type[BaseModel]]  # from a scheduler plugin's name to its `Settings`; raises ConfigError

_SETTINGS = ("scheduler", "settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A file as it was read: `problems` in the file's order, or a `config` and the `entry` and `raw` table that it is made of."""

    source: str
    problems: tuple[Problem, ...] = ()
    config: Config | None = None
    entry: FileEntry | None = None
    raw: Mapping[str, Any]

    def unwrap(self) -> Config:
        """The configuration. Raises ConfigError with every problem."""
        if self.config is None:
            first, more = self.problems[0], len(self.problems) - 1
            raise ConfigError(
                f"{self.source} cannot be used: {first}" + (f" (and {more} more)" if more else ""),
                problems=tuple(map(str, self.problems)),
                hint="correct the file; `headnode config check` looks at it again",
                source=self.source,
            )
        return self.config


def parse_config(text: str, *, load_settings: LoadSettings, source: str = "configuration") -> Config:
    """The configuration that `text` describes. Raises ConfigError that holds every problem, in the text's order."""
    return read_config(text, load_settings=load_settings, source=source).unwrap()


def read_config(text: str, *, load_settings: LoadSettings, source: str = "configuration") -> Reading:
    """Like `parse_config`, but problems are part of the answer. Whatever is wrong with the text, nothing is raised."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as err:  # ValueError: tomllib's own, and numbers of thousands of digits
        return Reading(source=source, problems=(_not_toml(source, err),), raw={})
    found: list[tuple[Location, Problem]] = []
    entry = _validated(raw, found)
    settings = _plugin_settings(raw, load_settings, found)
    found += _across_settings(raw)
    found.sort(key=lambda item: _position(raw, item[0]))
    if found or entry is None or settings is None:
        return Reading(source=source, problems=tuple(problem for _, problem in found), raw=raw)
    return Reading(source=source, config=_config(entry, settings), entry=entry, raw=raw)


def _not_toml(source: str, err: ValueError | RecursionError) -> Problem:
    said = str(err) if isinstance(err, ValueError) else "it is nested too deeply"
    place = re.search(r"\(at line (\d+), column (\d+)\)$", said)
    path = f"{source}:{place[1]}:{place[2]}" if place else source
    wrong = said.removesuffix(place[0]).strip() if place else said
    return Problem(path=path, wrong=f"is not valid TOML: {wrong}", hint="see https://toml.io for how to write it")


def _validated(raw: Mapping[str, Any], found: list[tuple[Location, Problem]]) -> FileEntry | None:
    try:
        return _file_adapter().validate_python(raw)
    except ValidationError as err:
        found += describe(err, under=(), settings=None)
        return None


@cache
def _file_adapter() -> TypeAdapter[FileEntry]:
    """Made when it is needed: it takes 5 MB, which the agent on a compute node has better uses for."""
    return TypeAdapter(FileEntry)


def _plugin_settings(
    raw: Mapping[str, Any], load_settings: LoadSettings, found: list[tuple[Location, Problem]]
) -> BaseModel | None:
    """The plugin's settings, validated by the plugin. None, with a problem, where its name or one of them is wrong."""
    scheduler = raw.get("scheduler")
    name = scheduler.get("name") if isinstance(scheduler, dict) else None
    settings = scheduler.get("settings", {}) if isinstance(scheduler, dict) else {}
    if not isinstance(name, str) or not isinstance(settings, dict):
        return None  # the file's own validation has said so
    try:
        plugin = load_settings(name)
    except ConfigError as err:
        problem = Problem(path="scheduler.name", wrong=str(err), hint=err.hint)
        found.append((("scheduler", "name"), problem))
        return None
    try:
        return plugin.model_validate(settings)
    except ValidationError as err:
        found += describe(err, under=_SETTINGS, settings=plugin)
        return None


def _across_settings(raw: Mapping[str, Any]) -> Iterator[tuple[Location, Problem]]:
    """What no setting shows by itself. Looks at the raw tables, so that it is found together with everything else."""
    dns = raw.get("dns")
    if isinstance(dns, dict) and ("zone_id" in dns) == ("zone" in dns):
        both = "zone_id" in dns
        wrong = "has both zone_id and zone" if both else "has neither zone_id nor zone"
        hint = "keep one of them" if both else "set one of them, or leave [dns] out for a cluster without a hosted zone"
        yield ("dns",), Problem(path="dns", wrong=wrong, hint=hint)
    mqtt = raw.get("mqtt")
    if isinstance(mqtt, dict):
        for one, other in (("username", "password_file"), ("cert_file", "key_file"), ("key_file", "cert_file")):
            if one in mqtt and other not in mqtt:
                yield ("mqtt", one), Problem(path=f"mqtt.{one}", wrong=f"is set, and {other} is not", hint=f"set {other} too")
    sqswatcher = raw.get("sqswatcher")
    if isinstance(sqswatcher, dict) and sqswatcher.get("verify_sns") is True and not sqswatcher.get("topics"):
        wrong, hint = "is true, and topics names none", "name the topics that the groups notify: anybody can have a topic"
        yield ("sqswatcher", "verify_sns"), Problem(path="sqswatcher.verify_sns", wrong=wrong, hint=hint)
    ha = raw.get("ha")
    if isinstance(ha, dict):
        yield from _across_ha(ha)
    fleets = raw.get("fleet")
    if isinstance(fleets, list):
        yield from _across_fleets(fleets)


def _across_ha(ha: Mapping[str, Any]) -> Iterator[tuple[Location, Problem]]:
    usual = HaConfig()
    lease_s, renew_s = ha.get("lease_s", usual.lease_s), ha.get("renew_s", usual.renew_s)
    if isinstance(lease_s, int | float) and isinstance(renew_s, int | float) and renew_s * 3 > lease_s:
        wrong = f"is more than a third of lease_s, which is {lease_s:g}"
        hint = "a lease must outlast renewals that get no answer"
        yield ("ha", "renew_s"), Problem(path="ha.renew_s", wrong=wrong, came=render_value(renew_s), hint=hint)


def _across_fleets(fleets: list[Any]) -> Iterator[tuple[Location, Problem]]:
    if not fleets:
        yield ("fleet",), Problem(path="fleet", wrong="is empty", hint="a cluster has at least one [[fleet]]")
    seen: dict[tuple[str, str], int] = {}
    for index, fleet in enumerate(fleets):
        if not isinstance(fleet, dict):
            continue
        for key in ("name", "group"):
            value = fleet.get(key)
            first = seen.setdefault((key, value), index) if isinstance(value, str) else index
            if first != index:
                wrong = f"is the same as fleet[{first}].{key}"
                yield _in_fleet(index, key, wrong, value, hint="two fleets never share a name or a group")
        if fleet.get("gpu_type") and not fleet.get("gpus"):
            yield _in_fleet(index, "gpu_type", "is set, but the fleet has no gpus", fleet["gpu_type"], hint="set gpus too")


def _in_fleet(index: int, key: str, wrong: str, value: object, *, hint: str) -> tuple[Location, Problem]:
    location = ("fleet", index, key)
    return location, Problem(path=render_path(location), wrong=wrong, came=render_value(value), hint=hint)


def _position(raw: object, location: Location) -> tuple[int, ...]:
    """Where in the file that place is, to sort by. What is missing comes last in its table."""
    places: list[int] = []
    for part in location:
        if isinstance(raw, dict) and part in raw:
            places.append(list(raw).index(part))
            raw = raw[part]
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            places.append(part)
            raw = raw[part]
        else:
            places.append(len(raw) if isinstance(raw, dict | list) else 0)
            break
    return tuple(places)


def _config(entry: FileEntry, settings: BaseModel) -> Config:
    endpoints = {name: getattr(entry.endpoints, name) for name in EndpointsEntry.__dataclass_fields__}
    return Config(
        cluster=entry.cluster,
        region=entry.region,
        queue=entry.queue,
        table=entry.table,
        endpoints={name: address for name, address in endpoints.items() if address},
        dns=entry.dns if entry.dns is not None and entry.dns.enabled else None,
        scheduler=SchedulerConfig(name=entry.scheduler.name, settings=settings),
        fleets=tuple(fleet.to_spec() for fleet in entry.fleet),
        sqswatcher=entry.sqswatcher,
        jobwatcher=entry.jobwatcher,
        budget=entry.budget,
        nodewatcher=entry.nodewatcher,
        ha=entry.ha,
        mqtt=entry.mqtt,
        log=entry.log,
    )
