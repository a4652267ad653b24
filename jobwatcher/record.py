"""What jobwatcher writes down of each look: everything the decisions were made from, so that they can be made again."""

from dataclasses import dataclass, replace
from pathlib import Path

from daemons.alarms import Alarm, keys_of
from daemons.config.values import JobwatcherConfig
from daemons.model import Hostname
from daemons.record import Journal
from jobwatcher.memory import Memory
from jobwatcher.observe import Observation
from jobwatcher.plan import Action, Answer, CapacityPlan, Decision, Options

_FRESH_S = 60.0  # how old the last look on file may be while nothing changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was decided."""

    decisions: tuple[Decision, ...]
    answers: tuple[Answer, ...]
    used_hosts: frozenset[Hostname] = frozenset()
    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One look: `seen`, `memory` and `options` are all that `plan_capacity` is given, `outcome` what it made of them."""

    version: str  # of headnode
    seen: Observation
    memory: Memory
    options: Options
    outcome: Outcome


def outcome_of(plan: CapacityPlan) -> Outcome:
    return Outcome(decisions=plan.decisions, answers=plan.answers, used_hosts=plan.used_hosts, alarms=plan.alarms)


@dataclass(frozen=True, slots=True)
class _Gist:
    """What makes two decisions equal: times and ids left aside."""

    decisions: tuple[tuple[object, ...], ...]
    answers: frozenset[str]
    alarms: frozenset[str]

    @classmethod
    def of(cls, outcome: Outcome) -> "_Gist":
        return cls(
            decisions=tuple(
                (one.fleet, one.action, one.target, one.desired, one.wanted, one.coming) for one in outcome.decisions
            ),
            answers=frozenset(answer.sentence for answer in outcome.answers),
            alarms=keys_of(outcome.alarms),
        )


class Recorder:
    """Knows what is news. Its methods block: call them off the event loop."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._journal = Journal(directory, most_bytes=most_bytes, setting="jobwatcher.state_dir")
        self._gist: _Gist | None = None
        self._last: Observation | None = None

    def open(self) -> Memory:
        """What an earlier process has learnt. Raises ConfigError where the directory cannot be used."""
        return self._journal.open(Memory, Memory())

    def keep_memory(self, memory: Memory) -> None:
        self._journal.keep_memory(memory)

    def keep(self, record: Record) -> None:
        """Write the record down; into the history if it changes something, or differs from the one before."""
        gist = _Gist.of(record.outcome)
        acts = any(decision.action is not Action.HOLD for decision in record.outcome.decisions)
        is_news = gist != self._gist or (acts and not record.options.jobwatcher.dry_run)
        self._gist = gist
        if is_news or self._last is None or not _is_like(record.seen, self._last):
            self._last = record.seen
            self._journal.keep(record, is_news=is_news)


def _is_like(one: Observation, other: Observation) -> bool:
    """The same but for the time, and not much of that."""
    return 0 <= one.now - other.now < _FRESH_S and one == replace(other, now=one.now)


def state_directory(chosen: JobwatcherConfig) -> Path:
    """Where a jobwatcher keeps its state. One that only decides keeps its own, beside that of the one that acts."""
    return Path(chosen.state_dir, "shadow") if chosen.dry_run else Path(chosen.state_dir)
