"""The demo from its first job to its verdict."""

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sandbox.demo.players import Players, choose_scheduler
from sandbox.demo.services import ServiceDied
from sandbox.demo.stage import INTERVAL_S, Announcer, Stage
from sandbox.demo.story import DemoJob, demo_fleet, demo_jobs, read_marks, render_script
from sandbox.demo.verdict import Truth, Verdict, judge
from sandbox.demo.view import DECISIONS, MILESTONES, Picture, View, describe_event, open_view

MAXIMUM, MINIMUM = 4, 0
TICK_S = 0.1
DEADLINE_S = 150.0
CHAOS_DEADLINE_S = 300.0
EXIT_INTERRUPTED = 130
REACTION_LIMITS_S = (INTERVAL_S + 1.0, 2.0)


def run_demo(*, scheduler: str | None, as_json: bool, keep: str, chaos: bool) -> int:
    """Run the whole demo. 0: every promise kept; 1: one was broken, or a service died. Raises ConfigError where it cannot run."""
    name, why = choose_scheduler(scheduler)
    try:
        with _signals_end_it(), Players.private(name) as players:
            verdict, timeline = _show(players, f"scheduler: {name} ({why})", as_json=as_json, keep=keep, chaos=chaos)
    except ServiceDied as err:
        print(f"headnode demo: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("headnode demo: interrupted; everything has been cleaned up", file=sys.stderr)
        return EXIT_INTERRUPTED
    _print_outcome(verdict, timeline, as_json=as_json)
    return 0 if verdict.ok else 1


def _show(players: Players, title: str, *, as_json: bool, keep: str, chaos: bool) -> tuple[Verdict, list[str]]:
    """Play before an audience. The view begins after the private world has: its thread must be inside."""
    view = open_view(as_json=as_json, stdout=sys.stdout, stderr=sys.stderr)
    try:
        view.say(f"{title}, {players.setting}; everything lives in {players.directory}")
        return _play(players, view, keep, chaos=chaos)
    finally:
        view.close()


def _play(players: Players, view: View, keep: str, *, chaos: bool) -> tuple[Verdict, list[str]]:
    announcer = Announcer()
    spec, maximum = demo_fleet(maximum=MAXIMUM)
    stage = Stage(
        players.directory,
        players.scheduler(announcer, spec),
        announcer,
        spec,
        maximum=maximum,
        minimum=MINIMUM,
        environment=players.guard.env,
        chaos=chaos,
    )
    try:
        view.say("starting the emulated AWS, the scheduler and the services")
        stage.start()
        return _Play(stage, announcer, view, chaos=chaos).perform()
    finally:
        if keep:
            _keep(players.directory, Path(keep))
        stage.stop()


@dataclass
class _Play:
    """One performance: submit, watch until everything is done, judge."""

    stage: Stage
    announcer: Announcer
    view: View
    chaos: bool
    jobs: tuple[DemoJob, ...] = field(default_factory=lambda: demo_jobs(maximum=MAXIMUM))
    timeline: list[str] = field(default_factory=list)
    peak: int = 0
    capacity_at: float | None = None
    registered_after_s: dict[int, float] = field(default_factory=dict)

    def perform(self) -> tuple[Verdict, list[str]]:
        marks = self.stage.directory / "marks"
        marks.mkdir()
        marks.chmod(0o777)
        self._await_services()
        began = time.monotonic()
        for job in self.jobs:
            script = self.stage.directory / f"{job.label}.sh"
            script.write_text(render_script(job, marks))
            script.chmod(0o755)
            self.stage.scheduler.submit(job, script)
        submitted = time.monotonic()
        self._note(0.0, f"submitted {len(self.jobs)} jobs: {', '.join(job.label for job in self.jobs)}")
        while time.monotonic() - began < (CHAOS_DEADLINE_S if self.chaos else DEADLINE_S):
            tick = time.monotonic()
            self._sample(began, submitted)
            if self._is_over(marks):
                break
            time.sleep(max(0.0, TICK_S - (time.monotonic() - tick)))
        self.stage.aws.faults.clear()  # the truth is read without them
        return self._judge(marks, submitted), self.timeline

    def _await_services(self) -> None:
        """The services are up once each of them has logged something after its start."""
        deadline = time.monotonic() + 30
        heard: set[str] = set()
        while time.monotonic() < deadline and len(heard) < 3:
            self.stage.services.check()
            heard |= {str(event.get("daemon")) for event in self.stage.services.events()}
            time.sleep(TICK_S)

    def _sample(self, began: float, submitted: float) -> None:
        self.stage.services.check()
        now, stage = time.monotonic(), self.stage
        if self.capacity_at is None and stage.desired > MINIMUM:
            self.capacity_at = now - submitted
        in_service = stage.in_service()
        if in_service > self.peak:
            self.peak = in_service
            self._note(now - began, f"{in_service} nodes in service")
        known = stage.scheduler.nodes()
        for place, announcement in enumerate(self.announcer.said):
            if place not in self.registered_after_s and announcement.hostname in known:
                self.registered_after_s[place] = now - announcement.at
        for event in stage.services.events():
            if event.get("event") in DECISIONS:
                self.view.decided(now - began, event)
            if event.get("event") in MILESTONES:
                self._note(now - began, describe_event(event))
        self.view.show(self._picture(now - began, known))

    def _picture(self, at_s: float, known: Mapping[str, bool]) -> Picture:
        waiting, running = self.stage.scheduler.counts()
        draining = sum(state in ("draining", "terminating") for state in self.stage.row_states())
        return Picture(
            at_s=at_s,
            jobs={"waiting": waiting, "running": running},
            desired=self.stage.desired,
            nodes={
                "booting": max(0, self.stage.alive() - len(known)),
                "registered": len(known),
                "idle": sum(not busy for busy in known.values()),
                "draining": draining,
            },
        )

    def _is_over(self, marks: Path) -> bool:
        """All that should run has run, and nothing is left that should go."""
        seen = read_marks(marks, self.jobs)
        if any(seen.ends[task] == 0 for job in self.jobs if job.runs for task in job.tasks):
            return False
        if self.stage.desired != MINIMUM or self.stage.alive() != MINIMUM:
            return False
        left = self.stage.leftovers()
        return not (left.scheduler or left.table or left.dns or left.queue)

    def _judge(self, marks: Path, submitted: float) -> Verdict:
        ready = [self.registered_after_s.get(place) for place in range(len(self.announcer.said))]
        seen = [value for value in ready if value is not None]
        truth = Truth(
            scheduler=self.stage.scheduler.name,
            marks=read_marks(marks, self.jobs),
            waiting=self.stage.scheduler.waiting(),
            peak=self.peak,
            final=self.stage.alive(),
            minimum=MINIMUM,
            leftovers=self.stage.leftovers(),
            job_to_capacity_s=self.capacity_at,
            ready_to_registered_s=max(seen) if seen and len(seen) == len(ready) else None,
        )
        self._note(time.monotonic() - submitted, f"the group is back at {truth.final}")
        return judge(truth, self.jobs, reaction_limits_s=None if self.chaos else REACTION_LIMITS_S)

    def _note(self, at_s: float, sentence: str) -> None:
        self.timeline.append(f"{at_s:6.1f} s  {sentence}")


def _print_outcome(verdict: Verdict, timeline: list[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(verdict.report))
        for failure in verdict.failures:
            print(f"broken promise: {failure}", file=sys.stderr)
        return
    print("\ntimeline")
    for line in timeline:
        print(f"  {line}")
    report = verdict.report
    print("\nverdict, from the jobs' own marks, the scheduler and the emulated AWS")
    for name in ("jobs", "nodes", "leftovers", "reaction_s"):
        print(f"  {name:<11} {json.dumps(report[name])[1:-1]}")
    for failure in verdict.failures:
        print(f"  broken promise: {failure}")
    print("  ok" if verdict.ok else "  NOT ok")


def _keep(directory: Path, target: Path) -> None:
    """Copy logs, configuration and what was decided out before they go."""
    target.mkdir(parents=True, exist_ok=True)
    for path in [*directory.glob("*.log"), *directory.glob("*.toml"), *directory.glob("*watcher/*.json*")]:
        copy = target / path.relative_to(directory)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo like Ctrl-C does: everything is cleaned up on the way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
