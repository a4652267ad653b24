"""A service's turns: what SIGHUP brings, and what it cannot bring."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from pydantic import BaseModel, SecretStr
from structlog.testing import capture_logs

from daemons.config import Config, Reading, read_config
from daemons.config.changes import changes_between
from daemons.errors import AwsRefused, ConfigError, HeadnodeError
from daemons.loop import run_every
from daemons.notify import Progress
from daemons.turns import Turns

FILE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc"
[scheduler]
name = "site"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.xlarge"
cpus = 4
"""
GPU = """
[[fleet]]
name = "gpu"
group = "hpc-gpu"
instance_type = "g5.xlarge"
cpus = 4
gpus = 1
"""


class Settings(BaseModel):
    token: SecretStr = SecretStr("")


def reading(text: str) -> Reading:
    return read_config(text, load_settings=lambda _: Settings, source="headnode.toml")


def with_token(token: str) -> str:
    return FILE.replace('name = "site"', f'name = "site"\nsettings = {{ token = "{token}" }}')


@dataclass
class Site:
    """A service that counts its cycles, on the file that is `text` at the time."""

    text: str = FILE
    said: list[str] = field(default_factory=list)
    cycles: list[Config] = field(default_factory=list)
    script: dict[int, Callable[[], None]] = field(default_factory=dict)  # what happens in which cycle
    broken: Callable[[Config], HeadnodeError | None] = lambda _: None  # what keeps it from serving with that
    long: set[int] = field(default_factory=set)  # the cycles that are in flight when their turn is over
    entered: int = 0
    levels: list[str] = field(default_factory=list)  # that were set while it served

    async def serve(self, config: Config, over: asyncio.Event) -> None:
        self.entered += 1
        if (err := self.broken(config)) is not None:
            raise err

        async def cycle() -> None:
            self.cycles.append(config)
            self.script.pop(len(self.cycles), lambda: None)()
            await (over.wait() if len(self.cycles) in self.long else asyncio.sleep(0))

        await run_every(0.001, cycle, over, progress=self.progress)

    def __post_init__(self) -> None:
        self.progress = Progress(say=self.said.append)
        self.turns = Turns(
            reading(self.text),
            read=lambda: reading(self.text),
            serve=self.serve,
            set_level=lambda config: self.levels.append(config.log.level),
            progress=self.progress,
        )

    def asks(self, text: str) -> None:
        """The file is changed, and SIGHUP sent."""
        self.text = text
        self.turns._asked.set()

    async def run(self) -> list[str]:
        """To the end; the events."""
        with capture_logs() as events:
            async with asyncio.timeout(60):
                await self.turns.run()
        self.events = events
        return [str(event["event"]) for event in events]

    @property
    def answers(self) -> list[str]:
        """What it has told its manager of being ready and of reloads."""
        return [words.partition("\n")[0] for words in self.said if words.startswith(("READY=1", "RELOADING=1"))]

    def asks_in_turn(self, *texts: str) -> None:
        """Each once the one before has been answered."""

        async def ask() -> None:
            for number, text in enumerate(texts, start=1):
                while not (self.cycles and self.answers.count("READY=1") >= number and self.progress.is_ready):
                    await asyncio.sleep(0)
                self.asks(text)

        self._asking = asyncio.get_running_loop().create_task(ask())

    def stop_once(self, done: Callable[[], bool]) -> None:
        async def watch() -> None:
            while not done():
                await asyncio.sleep(0)
            self.turns.stop()

        self._watching = asyncio.get_running_loop().create_task(watch())


async def test_what_changed_is_taken_between_two_cycles_and_told_in_one_line() -> None:
    site = Site()
    changed = FILE + GPU + '[nodewatcher]\nidle_for_s = 60.0\n[log]\nlevel = "debug"\n'
    site.script = {3: lambda: site.asks(changed)}
    site.stop_once(lambda: bool(site.cycles) and site.cycles[-1].log.level == "debug")
    assert await site.run() == ["config.changed"]
    told = site.events[0]
    assert "nodewatcher.idle_for_s: 600.0 -> 60.0" in told["changes"]
    assert 'log.level: "info" -> "debug"' in told["changes"]
    assert 'fleet.gpu.group: (none) -> "hpc-gpu"' in told["changes"]
    assert not any(change.startswith("fleet.batch") for change in told["changes"])
    assert site.entered == 2
    assert {config.nodewatcher.idle_for_s for config in site.cycles} == {600.0, 60.0}
    assert [words for words in site.said if "READY=1" in words or "RELOADING=1" in words][1].startswith("RELOADING=1")
    assert sum("READY=1" in words for words in site.said) == 2


async def test_what_cannot_be_used_is_told_whole_and_the_old_one_serves_on() -> None:
    site = Site()
    site.script = {2: lambda: site.asks(FILE + "[nodewatcher]\nidle_for = 1\n[jobwatcher]\ninterval_s = -1\n")}
    site.stop_once(lambda: any("refused" in words for words in site.said) and len(site.cycles) > 5)
    assert await site.run() == ["config.refused"]
    assert site.events[0]["count"] == 2
    assert site.entered == 1
    refused = next(words for words in site.said if "refused" in words)
    assert "READY=1" in refused
    assert "nodewatcher.idle_for" in refused
    assert "jobwatcher.interval_s" in refused


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("eu-west-1", "eu-west-2", "region"),
        ('cluster = "hpc"', 'cluster = "hpc2"', "cluster"),
        ('table = "hpc"', 'table = "hpc2"', "table"),
        ('name = "site"', 'name = "other"', "scheduler.name"),
    ],
)
async def test_what_names_another_cluster_takes_a_restart(old: str, new: str, path: str) -> None:
    site = Site()
    site.script = {1: lambda: site.asks(FILE.replace(old, new) + "[nodewatcher]\nidle_for_s = 60.0\n")}
    site.stop_once(lambda: any("refused" in words for words in site.said))
    assert await site.run() == ["config.refused"]
    [problem] = site.events[0]["problems"]
    assert problem.startswith(f"{path}: cannot change while the service runs")
    assert "systemctl restart" in problem
    assert {config.nodewatcher.idle_for_s for config in site.cycles} == {600.0}


async def test_what_fails_before_its_first_cycle_is_taken_back() -> None:
    site = Site()
    site.broken = lambda config: (
        ConfigError("no", problems=("mqtt.password_file cannot be read", "and more")) if config.budget.max_nodes else None
    )
    site.script = {2: lambda: site.asks(FILE + "[budget]\nmax_nodes = 5\n")}
    site.stop_once(lambda: site.entered == 3 and site.progress.is_ready)
    assert await site.run() == ["config.changed", "config.refused"]
    assert site.events[1]["problems"] == ["mqtt.password_file cannot be read", "and more"]
    assert "mqtt.password_file cannot be read" in site.said[-1]
    assert {config.budget.max_nodes for config in site.cycles} == {0}


def with_level(level: str, more: str = "") -> str:
    return f'{FILE}[log]\nlevel = "{level}"\n{more}'


async def test_a_level_alone_is_changed_in_place_and_interrupts_nothing() -> None:
    site = Site()
    site.asks_in_turn(with_level("debug"), with_level("debug"), with_level("error"))
    site.stop_once(lambda: site.levels == ["debug", "error"])
    assert await site.run() == ["config.changed", "config.unchanged", "config.changed"]
    assert [event.get("changes") for event in site.events[::2]] == [
        ['log.level: "info" -> "debug"'],
        ['log.level: "debug" -> "error"'],
    ]
    assert site.entered == 1
    assert site.answers == ["READY=1", *["RELOADING=1", "READY=1"] * 3]


async def test_what_comes_with_a_level_takes_a_turn_and_what_comes_after_it_is_compared_with_it() -> None:
    site = Site()
    site.asks_in_turn(with_level("debug"), with_level("debug", "[budget]\nmax_nodes = 5\n"))
    site.stop_once(lambda: bool(site.cycles) and site.cycles[-1].budget.max_nodes == 5)
    assert await site.run() == ["config.changed", "config.changed"]
    assert site.events[1]["changes"] == ["budget.max_nodes: 0 -> 5"]
    assert (site.entered, site.cycles[-1].log.level, site.levels) == (2, "debug", ["debug"])


async def test_a_secret_that_changes_with_the_level_is_no_change_of_the_level_alone() -> None:
    site = Site(text=with_token("swordfish"))
    site.script = {2: lambda: site.asks(with_token("hunter2") + '[log]\nlevel = "debug"\n')}
    site.stop_once(lambda: site.entered == 2)
    assert await site.run() == ["config.changed"]
    assert site.levels == []


async def test_what_fails_is_taken_back_also_when_it_was_asked_for_in_the_middle_of_a_cycle() -> None:
    """That cycle ends well, which says nothing of the new configuration."""
    site = Site()
    site.broken = lambda config: ConfigError("no") if config.budget.max_nodes else None
    site.script = {2: lambda: site.asks(FILE + "[budget]\nmax_nodes = 5\n")}
    site.long = {2}
    site.stop_once(lambda: site.entered == 3 and site.progress.is_ready)
    assert await site.run() == ["config.changed", "config.refused"]
    assert not site.cycles[-1].budget.max_nodes


async def test_what_was_in_place_when_a_turn_fails_is_gone_back_to() -> None:
    site = Site()
    site.broken = lambda config: ConfigError("no") if config.budget.max_nodes else None
    site.asks_in_turn(with_level("debug"), with_level("debug", "[budget]\nmax_nodes = 5\n"))
    site.stop_once(lambda: site.entered == 3 and site.progress.is_ready)
    assert await site.run() == ["config.changed", "config.changed", "config.refused"]
    assert site.cycles[-1].log.level == "debug"


async def test_a_level_that_comes_while_a_turn_has_yet_to_succeed_stays_when_that_is_taken_back() -> None:
    """And it is compared with from then on: to ask for the old one is a change again."""
    site = Site()
    with_nodes, may_fail = "[budget]\nmax_nodes = 5\n", asyncio.Event()

    async def serve(config: Config, over: asyncio.Event) -> None:
        if not config.budget.max_nodes:
            await Site.serve(site, config, over)
            return
        await may_fail.wait()
        raise ConfigError("no")

    async def ask() -> None:
        while site.turns.number < 2:
            await asyncio.sleep(0)
        site.asks(with_level("debug", with_nodes))
        while site.levels != ["debug"]:
            await asyncio.sleep(0)
        may_fail.set()
        while not (site.turns.number == 3 and site.progress.is_ready):
            await asyncio.sleep(0)
        site.asks(with_level("info"))

    site.turns._serve = serve
    site.script = {2: lambda: site.asks(with_level("info", with_nodes))}
    asking = asyncio.create_task(ask())
    site.stop_once(lambda: site.levels == ["debug", "info"])
    assert await site.run() == ["config.changed", "config.changed", "config.refused", "config.changed"]
    assert site.cycles[-1].log.level == "debug", "what it was gone on with after the failure"
    assert site.events[-1]["changes"] == ['log.level: "debug" -> "info"']
    await asking


async def test_the_same_once_more_changes_nothing() -> None:
    site = Site()
    site.script = {2: lambda: site.asks(f"# a remark\n{FILE}")}
    site.stop_once(lambda: any("goes on" in words for words in site.said))
    assert await site.run() == ["config.unchanged"]
    assert site.entered == 1


async def test_a_correction_takes_the_reproach_away() -> None:
    site = Site()
    site.script = {1: lambda: site.asks("cluster = 7"), 20: lambda: site.asks(FILE + "[budget]\nmax_nodes = 5\n")}
    site.stop_once(lambda: bool(site.cycles) and site.cycles[-1].budget.max_nodes == 5 and site.progress.is_ready)
    events = await site.run()
    assert events[-1] == "config.changed"
    assert "refused" not in site.said[-1]


async def test_a_service_that_fails_with_the_configuration_it_began_with_ends() -> None:
    site = Site()
    site.broken = lambda _: AwsRefused("no such group", error_code="ValidationError")
    with pytest.raises(AwsRefused):
        await site.run()


async def test_a_failure_that_no_change_is_guilty_of_ends_the_service() -> None:
    """Once a cycle went well with it, a configuration is not what is wrong."""

    def fail() -> None:
        raise AwsRefused("no", error_code="AccessDenied")

    site = Site()
    site.script = {1: lambda: site.asks(FILE + "[budget]\nmax_nodes = 5\n")}

    async def watch() -> None:
        while not (site.entered == 2 and site.progress.is_ready):
            await asyncio.sleep(0)
        site.script[len(site.cycles) + 1] = fail

    watching = asyncio.create_task(watch())
    with pytest.raises(AwsRefused):
        await site.run()
    await watching


async def test_a_stop_ends_the_turn_for_good() -> None:
    site = Site()
    site.script = {3: site.turns.stop}
    assert await site.run() == []
    assert len(site.cycles) == 3


def test_a_secret_that_changed_is_taken_and_not_shown() -> None:
    one, other = reading(with_token("swordfish")), reading(with_token("hunter2"))
    assert one.config != other.config
    assert not [change for change in changes_between(one, other) if "swordfish" in str(change) or "hunter2" in str(change)]


def test_fleets_are_compared_by_name_wherever_they_stand() -> None:
    swapped = GPU.join(FILE.split("[[fleet]]", 1)[:1]) + GPU + "[[fleet]]" + FILE.split("[[fleet]]", 1)[1]
    assert changes_between(reading(FILE + GPU), reading(swapped)) == ()
