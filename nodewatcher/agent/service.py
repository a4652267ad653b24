"""What the agent does, all at once: announce until registered, watch for notices, report, and mind the dead-man rule."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiomqtt
import psutil
import structlog

from daemons.errors import InvalidValue
from daemons.loop import back_off_s, sleep_unless
from daemons.metrics import GONE, UP, HostReading, Topics, render_reading
from daemons.model import InstanceId
from daemons.mqtt import Heard, Line, subscribed
from daemons.names import parse_instance_id
from daemons.notify import Progress
from nodewatcher.agent.config import AgentConfig
from nodewatcher.agent.deadman import DeadMan
from nodewatcher.agent.host import Host
from nodewatcher.agent.imds import Imds, ImdsUnavailable, read_notices

log = structlog.get_logger()

_ANNOUNCE_TIMEOUT_S = 120.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 120.0  # the head takes some seconds to register a node
_REGISTERED, _TOLD = 0, 3  # exit codes of `announce`

Shutdown = Callable[[], Awaitable[None]]


class Agent:
    """One node's agent. `awake` counts seconds that nobody can set; `first_wait_s` is until the second announcement.
    `progress` hears how it gets on; it is ready once it knows which instance it is on.
    """

    def __init__(
        self,
        config: AgentConfig,
        config_path: Path,
        *,
        awake: Callable[[], float] = time.monotonic,
        first_wait_s: float = _FIRST_WAIT_S,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._path = config_path
        self._awake = awake
        self._first_wait_s = first_wait_s
        self._progress = progress or Progress()
        self._imds = Imds(config.imds)
        self._host = Host(awake)
        self._spot_action, self._rebalance = "", False
        self._news = asyncio.Event()  # something to say at once
        self._deadman = DeadMan(silent_s=config.head_silent_s, idle_cpu_share=config.idle_cpu_share)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until the dead-man rule has ended the node. Raises ConfigError for files that cannot be used."""
        async with self._progress.watched():
            await self._run(stop)
        self._progress.stops()

    async def _run(self, stop: asyncio.Event) -> None:
        instance_id = await self._who_am_i(stop)
        if instance_id is None:
            return
        structlog.contextvars.bind_contextvars(instance_id=instance_id)
        log.info("agent.started")
        self._progress.ends(f"{instance_id} is announced to the head")
        jobs = [self._announce(stop), self._watch(stop), self._talk(instance_id, stop)]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _who_am_i(self, stop: asyncio.Event) -> InstanceId | None:
        failures = 0
        while not stop.is_set():
            try:
                return parse_instance_id(await asyncio.to_thread(self._imds.read, "meta-data/instance-id"))
            except (ImdsUnavailable, InvalidValue) as err:
                failures += 1
                log.warning("imds.failed", failures=failures, **err.to_event())
                self._progress.fails(f"does not know which instance it is on: {err}")
                await sleep_unless(stop, back_off_s(failures, period_s=1.0, jitter=0.5))
        return None

    async def _announce(self, stop: asyncio.Event) -> None:
        """Until the head has registered the node."""
        wait_s, tries = self._first_wait_s, 0
        while not stop.is_set():
            tries += 1
            code, words = await _run(
                [sys.executable, "-m", "nodewatcher.agent.announce", "--config", str(self._path)], _ANNOUNCE_TIMEOUT_S
            )
            if code == _REGISTERED:
                log.info("agent.registered", tries=tries)
                self._progress.ends("the head has registered this node")
                return
            if code == _TOLD:
                log.info("agent.announced", tries=tries, next_look_s=wait_s)
            else:
                log.warning("agent.announcement_failed", tries=tries, exit_code=code, error=words, next_try_s=wait_s)
                self._progress.fails(f"announcing it failed {tries} times, tried again in {wait_s:.0f} s: {words}")
            await sleep_unless(stop, wait_s)
            wait_s = min(2 * wait_s, max(_LONGEST_WAIT_S, self._first_wait_s))

    async def _watch(self, stop: asyncio.Event) -> None:
        """For what AWS announces through the metadata service. News is said at once."""
        silent = False
        while not stop.is_set():
            try:
                notices = await asyncio.to_thread(read_notices, self._imds)
            except ImdsUnavailable as err:
                if not silent:
                    log.warning("imds.failed", **err.to_event())
                silent = True
            else:
                silent = False
                if notices != (self._spot_action, self._rebalance):
                    self._spot_action, self._rebalance = notices
                    log.warning("agent.notice", spot_action=self._spot_action, rebalance=self._rebalance)
                    self._news.set()
            await sleep_unless(stop, self._config.notice_interval_s)

    async def _talk(self, instance_id: InstanceId, stop: asyncio.Event) -> None:
        """With the broker, if one is configured."""
        broker = self._config.mqtt
        if broker is None:
            return
        topics = Topics(broker.topic, self._config.cluster)
        state = topics.state(instance_id)
        if broker.password_file and not broker.username:
            broker = replace(broker, username=instance_id)

        async def connected(line: Line) -> None:
            await line.say(state, UP, retain=True)
            self._news.set()

        async def left(line: Line) -> None:
            await line.say(state, b"", retain=True)  # stopped on purpose: no sign of a node in trouble

        async with subscribed(
            broker,
            [topics.head],
            self._hear_head,
            identifier=f"agent-{instance_id}",
            will=aiomqtt.Will(state, GONE, qos=1, retain=True),
            connected=connected,
            left=left,
        ) as line:
            while not stop.is_set():
                reading = await self._look()
                if reading is not None:
                    await line.say(topics.reading(instance_id), render_reading(reading))
                await self._mind_the_rule(stop)
                await self._wait(stop)

    def _hear_head(self, heard: Heard) -> None:
        if not heard.retained:
            self._deadman.heard(self._awake())

    async def _look(self) -> HostReading | None:
        try:
            reading: HostReading | None = await self._host.look(spot_action=self._spot_action, rebalance=self._rebalance)
        except (psutil.Error, OSError) as err:
            log.warning("agent.cannot_look", error=str(err))
            reading = None
        self._deadman.saw(reading, self._awake())
        return reading

    async def _mind_the_rule(self, stop: asyncio.Event) -> None:
        """End the node if the rule says so. Where the program for it fails, its words are logged, and the next look retries."""
        if not self._deadman.is_due(self._awake()):
            return
        log.error("agent.ends_its_node", because=f"no word of the head, and idle, for {self._config.head_silent_s:.0f} s")
        code, words = await _run(list(self._config.shutdown), _ANNOUNCE_TIMEOUT_S)
        if code == 0:
            stop.set()
        else:
            log.error("agent.shutdown_failed", argv=list(self._config.shutdown), exit_code=code, error=words)

    async def _wait(self, stop: asyncio.Event) -> None:
        """For the next reading: its interval, or news."""
        self._news.clear()
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._news.wait())]
        await asyncio.wait(waits, timeout=self._config.interval_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _run(argv: list[str], timeout_s: float) -> tuple[int, str]:
    """The exit code of a program and the last of what it complained of; -1 where it did not start or end."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError as err:
        return -1, str(err)
    try:
        _, said = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        return -1, f"no end after {timeout_s:.0f} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace").strip()[-500:]
