"""What nodewatcher writes down of each look: everything the verdicts were made from, so that they can be made again."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from daemons.alarms import Alarm
from daemons.config.values import NodewatcherConfig
from daemons.record import Journal
from nodewatcher.judge import Action, Verdict
from nodewatcher.memory import Memory
from nodewatcher.observe import Observation
from nodewatcher.plan import NodePlan

_FRESH_S = 15.0  # how old the last look on file may be while nothing changes
_NUMBERS = re.compile(r"[0-9.]+")  # a sentence whose numbers alone changed is the same sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One node's verdict, without its row."""

    instance_id: str
    action: Action
    reason: str
    relaunch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One look: `seen`, `memory` and `options` are what `plan_nodes` is given; `verdicts` and `alarms` what it made of them."""

    version: str  # of headnode
    seen: Observation
    memory: Memory
    options: NodewatcherConfig
    verdicts: tuple[Sentence, ...]
    alarms: tuple[Alarm, ...] = ()


def sentences_of(plan: NodePlan) -> tuple[Sentence, ...]:
    return tuple(map(_sentence, plan.verdicts))


def _sentence(one: Verdict) -> Sentence:
    return Sentence(instance_id=one.row.instance_id, action=one.action, reason=one.reason, relaunch=one.relaunch)


def gist(one: Sentence) -> str:
    """What makes two verdicts on a node equal: seconds and percentages left aside."""
    return f"{one.action}: {_NUMBERS.sub('', one.reason)}"


class Recorder:
    """Knows what is news. Its methods block: call them off the event loop."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._journal = Journal(directory, most_bytes=most_bytes, setting="nodewatcher.state_dir")
        self._gists: dict[str, str] | None = None
        self._last: Observation | None = None

    def open(self) -> Memory:
        """What an earlier process has learnt. Raises ConfigError where the directory cannot be used."""
        return self._journal.open(Memory, Memory())

    def keep_memory(self, memory: Memory) -> None:
        self._journal.keep_memory(memory)

    def keep(self, record: Record) -> None:
        """Write the record down; into the history if a verdict changed."""
        gists = {one.instance_id: gist(one) for one in record.verdicts}
        is_news = gists != self._gists
        self._gists = gists
        if is_news or self._last is None or not _is_like(record.seen, self._last):
            self._last = record.seen
            self._journal.keep(record, is_news=is_news)


def _is_like(one: Observation, other: Observation) -> bool:
    """The same but for the time, and not much of that."""
    return 0 <= one.now - other.now < _FRESH_S and one == replace(other, now=one.now)


def state_directory(chosen: NodewatcherConfig) -> Path:
    """Where a nodewatcher keeps its state. One that only decides keeps its own, beside that of the one that acts."""
    return Path(chosen.state_dir, "shadow") if chosen.dry_run else Path(chosen.state_dir)
