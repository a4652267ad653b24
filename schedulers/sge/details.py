"""What `qstat -f` does not say of waiting jobs: when they begin, how many tasks may run at once, and which limits they hit. Pure.

The scheduler writes down why it left jobs waiting if its setting `schedd_job_info` is true; without it no limit is known.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from daemons.errors import SchedulerUnavailable
from schedulers.sge.parse import parse_tree

_RULE = re.compile(r'exceeds limit "([^"]*)" in rule "([^"]*)"')
_OVER_RULE = "exceeding limit in rule"  # more about such a job is to be had
_OVER_LIMITS = ("user limitations",)


class Rule(NamedTuple):
    """A resource quota that a job would exceed. What is not "" there has a quota of its own: `hosts {*}` names the host, while
    `hosts @group` is one quota for all of them together.
    """

    user: str
    project: str
    environment: str
    queue: str
    host: str
    name: str  # "max/1": the first rule of set max


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What the scheduler has said about jobs, by number."""

    over_rule: frozenset[str] = frozenset()  # they would exceed a resource quota
    over_limit: frozenset[str] = frozenset()  # their users may not have more jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """What `qstat -j` says of some jobs, by number. A job that has ended meanwhile is left out."""

    throttles: Mapping[str, int] = field(default_factory=dict)  # how many tasks of an array may run at once
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All of it, together."""

    later: AbstractSet[str] = frozenset()  # to begin at a time to come
    verdicts: Verdicts = field(default_factory=Verdicts)
    jobs: JobDetails = field(default_factory=JobDetails)


def parse_job_ids(text: str) -> frozenset[str]:
    """The jobs that an answer of `qstat -xml` lists, by number."""
    jobs = parse_tree(text, "job_info", "qstat").iter("JB_job_number")
    return frozenset(job.text.strip() for job in jobs if job.text)


def parse_verdicts(text: str) -> Verdicts:
    """The answer of `qstat -j -xml`, without jobs: the scheduler's messages, each with the jobs that it is about."""
    root = parse_tree(text, "message", "qstat -j")
    over_rule: set[str] = set()
    over_limit: set[str] = set()
    for message in root.iterfind(".//SME_message_list/element"):
        jobs = {job.text.strip() for job in message.iterfind(".//ULNG_value") if job.text}
        words = message.findtext("MES_message", "")
        if _OVER_RULE in words:
            over_rule |= jobs
        if any(limit in words for limit in _OVER_LIMITS):
            over_limit |= jobs
    return Verdicts(over_rule=frozenset(over_rule), over_limit=frozenset(over_limit))


def parse_job_details(text: str) -> JobDetails:
    """The answer of `qstat -j IDS -xml`. If all of them have ended meanwhile, qstat says `unknown_jobs`."""
    root = parse_tree(text, None, "qstat -j")
    if root.tag not in ("detailed_job_info", "unknown_jobs"):
        raise SchedulerUnavailable(f"qstat -j wrote something else than jobs: {text[:200]!r}")
    throttles = {}
    for job in root.iterfind("djob_info/element"):
        number, limit = job.findtext("JB_job_number", ""), job.findtext("JB_ja_task_concurrency", "0")
        if not (number.isdecimal() and limit.isdecimal()):
            raise SchedulerUnavailable(f"qstat -j wrote a job that cannot be read: number {number!r}, throttle {limit!r}")
        if int(limit):
            throttles[number] = int(limit)
    rules: dict[str, tuple[Rule, ...]] = {}
    for message in root.iterfind("messages//SME_message_list/element"):
        if rule := _parse_rule(message.findtext("MES_message", "")):
            for job in message.iterfind(".//ULNG_value"):
                rules[job.text or ""] = (*rules.get(job.text or "", ()), rule)
    return JobDetails(throttles=throttles, rules=rules)


def _parse_rule(words: str) -> Rule | None:
    """`cannot run because it exceeds limit "alice/////" in rule "max/1"`."""
    found = _RULE.search(words)
    parts = found[1].split("/") if found else []
    if found is None or len(parts) < 5:
        return None
    user, project, environment, queue, host = parts[:5]
    return Rule(user=user, project=project, environment=environment, queue=queue, host=host, name=found[2])
