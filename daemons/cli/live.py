"""A look of the command's own: everybody is asked now, and what jobwatcher would make of that is told. Nothing is done."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.cli.gather import Records
from daemons.cli.sqs import DEAD, EVENTS, ClusterQueue
from daemons.config import Config
from daemons.errors import AwsUnavailable, HeadnodeError, InvalidValue
from daemons.plain import parse_json
from daemons.record import MEMORY
from jobwatcher.memory import Memory
from jobwatcher.observe import Observation
from jobwatcher.plan import Options, plan_capacity
from jobwatcher.record import Record, outcome_of, state_directory
from schedulers.plugins import load_plugin, opened

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLook:
    """What everybody answered. `records` hold the look in place of jobwatcher's last one, if all that it needs has answered."""

    records: Records
    queue: Mapping[str, float | None]
    problems: tuple[str, ...]


async def look_live(config: Config, recorded: Records) -> LiveLook:
    """Ask everybody at once. Who does not answer is a problem; the others' answers count all the same."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        nodes, demand, fleets, rows, queue = await asyncio.gather(
            _answer("the scheduler's nodes", scheduler.nodes()),
            _answer("the scheduler's waiting jobs", scheduler.demand()),
            _answer("the groups", AutoScalingGroups(clients, specs=config.fleets).fleets()),
            _answer("the table", DynamoRows(clients, table=config.table).live()),
            _answer("the queue", asyncio.to_thread(_ask_queue, config)),
        )
    problems = tuple(answer for answer in (nodes, demand, fleets, rows, queue) if isinstance(answer, str))
    asked = queue if not isinstance(queue, str) else {}
    if isinstance(nodes, str) or isinstance(demand, str) or isinstance(fleets, str) or isinstance(rows, str):
        return LiveLook(records=recorded, queue=asked, problems=problems)
    seen = Observation(now=time.time(), fleets=fleets, rows=rows, nodes=nodes, demand=demand)
    memory = _memory(state_directory(config.jobwatcher))
    options = Options(jobwatcher=config.jobwatcher, budget=config.budget)
    outcome = outcome_of(await asyncio.to_thread(plan_capacity, seen, memory, options))
    record = Record(version=version("headnode"), seen=seen, memory=memory, options=options, outcome=outcome)
    return LiveLook(
        records=Records(jobs=record, nodes=recorded.nodes, problems=recorded.problems), queue=asked, problems=problems
    )


async def _answer(whose: str, asked: Awaitable[T]) -> T | str:
    """The answer, or what kept it from coming."""
    try:
        return await asked
    except HeadnodeError as err:
        return f"{whose} cannot be had: {err}" + (f" ({err.hint})" if err.hint else "")


def _ask_queue(config: Config) -> Mapping[str, float | None]:
    queue = ClusterQueue(config)
    urls = queue.urls()
    found: dict[str, float | None] = dict(queue.depth(urls[EVENTS]))
    if DEAD in urls:
        dead = queue.depth(urls[DEAD])
        found[DEAD] = sum(dead.values())
    try:
        found["oldest_s"] = queue.oldest_s(urls[EVENTS])
    except AwsUnavailable:  # the right to read metrics is not one that headnode needs
        found["oldest_s"] = None
    return found


def _memory(directory: Path) -> Memory:
    """What jobwatcher has learnt; a look without that knows of no shortage."""
    try:
        return parse_json(Memory, (directory / MEMORY).read_bytes())
    except (OSError, InvalidValue):
        return Memory()
