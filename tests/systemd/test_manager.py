"""The units under a real systemd: they start, become ready, are restarted, and stop. AWS is emulated, the scheduler local."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemons.model import Shape
from daemons.stopping import GRACE_S
from sandbox.aws.errors import AwsError
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.values import EmulatedInstance
from sandbox.aws.world import Timing
from sandbox.configuration import batch, local_scheduler, render_config
from sandbox.mosquitto import Mosquitto, find_mosquitto
from sandbox.systemd import Bind, Manager, can_run, python_inside
from schedulers.local import engine, store
from schedulers.local.values import JobSpec
from tests.needs import skip_or_fail

ROOT = Path(__file__).parents[2]
SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
AGENT = "headnode-agent"
DEADLINE_S = 150.0
NODES = 30
# What the site of a test needs besides; the emulated AWS takes any credentials, and the local scheduler is a file.
DROP_IN = """
[Service]
Environment=AWS_ACCESS_KEY_ID=sandbox AWS_SECRET_ACCESS_KEY=sandbox AWS_EC2_METADATA_DISABLED=true
StandardOutput=append:/var/log/{name}.log
StandardError=inherit
ReadWritePaths=/srv/local
WatchdogSec=3
TimeoutAbortSec=1
RestartSec=100ms
Environment=HEADNODE_BACK_OFF_S=0.2
"""


@dataclass
class Site:
    manager: Manager
    aws: SandboxAws
    stack: Stack
    directory: Path

    def unit(self, name: str) -> tuple[str, str, int]:
        """Its state, its own words, and how often it was restarted."""
        shown = self.manager.ctl("show", "--property", "ActiveState,StatusText,NRestarts", f"{name}.service").stdout
        told = dict(line.split("=", 1) for line in shown.splitlines())
        return told.get("ActiveState", ""), told.get("StatusText", ""), int(told.get("NRestarts") or 0)

    def number(self, name: str) -> int:
        """The service's process, as its manager numbers it."""
        return int(self.manager.show(f"{name}.service", "MainPID"))

    def gets_on(self, name: str) -> bool:
        state, words, _ = self.unit(name)
        return state == "active" and "went well" in words

    def is_another(self, name: str, number: int) -> bool:
        """Does it run, as another process than that one?"""
        return self.number(name) not in (0, number)

    def log(self, name: str) -> str:
        return self.manager.run("tail", "-c", "3000", f"/var/log/{name}.log").stdout

    def has_told(self, name: str, words: str) -> bool:
        return words in self.log(name)

    def until(self, look: Callable[[], Any], what: str) -> None:
        give_up_at = time.monotonic() + DEADLINE_S
        while not look():
            logs = (
                "\n".join(f"{name}: {self.unit(name)}\n{self.log(name)}" for name in SERVICES)
                if time.monotonic() > give_up_at
                else ""
            )
            assert time.monotonic() < give_up_at, f"not within {DEADLINE_S:g} s: {what}\n{logs}"
            time.sleep(0.05)

    def nodes(self) -> set[str]:
        """Whom the scheduler knows, by its own file."""
        with contextlib.closing(store.connect(self.directory / "local" / "local.db", timeout_s=10.0)) as db:
            return {node.hostname for node in store.read_nodes(db)}

    def start(self) -> None:
        """All of them, with nothing of earlier tests counted."""
        for name in SERVICES:
            self.manager.ctl("reset-failed", f"{name}.service")
        started = self.manager.ctl("start", *(f"{name}.service" for name in SERVICES), timeout_s=90.0)
        assert started.returncode == 0, started.stderr + "\n".join(map(self.log, SERVICES))

    def amend(self, name: str, text: str) -> None:
        """A drop-in, as `systemctl edit` makes one, that comes after the one above; "" takes it back."""
        path = f"/etc/systemd/system/{name}.service.d/zz-override.conf"
        self.manager.run("sh", "-c", f'printf %s "$1" >{path}', "sh", text)
        self.manager.ctl("daemon-reload")

    def lend_files(self) -> None:
        """The scheduler's files, which root has written, to the services' user."""
        for path in (self.directory / "local", *(self.directory / "local").iterdir()):
            os.chown(path, self.manager.user_id, self.manager.user_id)

    def configure(self, text: str) -> None:
        (self.directory / "etc" / "headnode.toml").write_text(text)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if reason := can_run():
        skip_or_fail(f"no real systemd manager: {reason}")
    directory = Path(tempfile.mkdtemp(prefix="hn-sd-"))
    directory.chmod(0o755)
    (directory / "etc").mkdir()
    (directory / "local").mkdir()
    (directory / "secrets").mkdir(mode=0o700)
    units = {f"{name}.service": (ROOT / "systemd" / f"{name}.service").read_text() for name in (*SERVICES, AGENT)}
    units |= {f"{name}.service.d/test.conf": DROP_IN.format(name=name) for name in (*SERVICES, AGENT)}
    binds = (
        *python_inside(directory),
        Bind(outside=directory / "etc", inside="/etc/headnode", writable=True),  # by root, not by the services
        Bind(outside=directory / "secrets", inside="/srv/secrets"),
        Bind(outside=directory / "local", inside="/srv/local", writable=True),
    )
    manager = Manager(directory=directory / f"m{secrets.token_hex(4)}", units=units, binds=binds)
    with SandboxAws(account="777788882222", timing=Timing(boot_s=0.05, shutdown_s=0.05)) as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="units", groups=(GroupSpec(name="units-batch", maximum=50),)))
        made = Site(manager, aws, stack, directory)
        made.configure(whole(made))
        store.create(directory / "local" / "local.db")
        made.lend_files()
        manager.start()
        try:
            yield made
        finally:
            manager.stop()
    shutil.rmtree(directory, ignore_errors=True)


def whole(site: Site) -> str:
    """The configuration that the tests begin with."""
    return render_config(
        site.stack,
        local_scheduler(Path("/srv/local/local.db")),
        fleets=[batch(site.stack, instance_type="c5.large", cpus=2)],
        jobwatcher={"interval_s": 0.5, "rest_s": 0.0},
        nodewatcher={"interval_s": 0.5, "rest_s": 0.0},
        sqswatcher={"wait_s": 1, "visibility_s": 10},  # what one that is killed had in hand comes back after so long
    )


def test_they_start_become_ready_say_how_they_get_on_and_stop(site: Site) -> None:
    site.start()
    for name in SERVICES:
        site.until(partial(site.gets_on, name), f"{name} says that its last cycle went well")
        assert site.unit(name)[0] == "active"
    stopped = site.manager.ctl("stop", *(f"{name}.service" for name in SERVICES))
    assert stopped.returncode == 0
    for name in SERVICES:
        assert site.manager.show(f"{name}.service", "Result") == "success"
        assert site.unit(name)[0] == "inactive"
        assert "service.stopped" in site.log(name)


def test_headnode_status_has_systemds_word_on_each(site: Site) -> None:
    site.start()
    for name in SERVICES:
        site.until(partial(site.gets_on, name), f"{name} says that its last cycle went well")

    def page() -> tuple[int, Any]:
        done = site.manager.run("/opt/headnode/bin/headnode", "status", "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    code, well = page()
    assert (code, well["problems"]) == (0, [])
    assert [(line["service"], line["is_alive"], line["state"]) for line in well["services"]] == [
        (name, True, "active (running)") for name in SERVICES
    ]
    assert all("went well" in line["status"] for line in well["services"])
    site.manager.ctl("stop", "jobwatcher.service")
    code, unwell = page()
    assert code == 1
    assert unwell["problems"][0].startswith("jobwatcher is not well: inactive (dead)")


def test_a_log_level_reaches_every_service_and_interrupts_none(site: Site) -> None:
    site.start()
    for name in SERVICES:
        site.until(partial(site.gets_on, name), f"{name} gets on")
    numbers = [site.number(name) for name in SERVICES]
    try:
        done = site.manager.run("/opt/headnode/bin/headnode", "log-level", "debug", "--json")
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert (done.returncode, [one["service"] for one in told["services"]]) == (0, list(SERVICES)), done.stderr
        for name in SERVICES:
            site.until(partial(site.has_told, name, 'log.level: \\"info\\" -> \\"debug\\"'), f"{name} tells the change")
            site.until(partial(site.gets_on, name), f"{name} gets on")
            assert site.log(name).rpartition("config.changed")[2].count("service.st") == 0, "neither stopped nor started"
        assert [site.number(name) for name in SERVICES] == numbers
    finally:
        site.configure(whole(site))
        site.manager.ctl("restart", *(f"{name}.service" for name in SERVICES), timeout_s=90.0)


@pytest.mark.parametrize("name", SERVICES)
def test_one_that_is_frozen_is_restarted_by_its_watchdog(name: str, site: Site) -> None:
    site.start()
    frozen = site.number(name)
    site.manager.run("kill", f"-{signal.SIGSTOP.value}", str(frozen))
    site.until(partial(site.is_another, name, frozen), f"another {name} runs")
    site.until(partial(site.gets_on, name), f"the other {name} gets on")
    assert site.unit(name)[2] >= 1


@pytest.mark.parametrize("name", SERVICES)
def test_one_is_reloaded_as_the_same_process_and_a_wrong_file_changes_nothing(name: str, site: Site) -> None:
    site.start()
    number = site.number(name)
    try:
        site.configure(whole(site).replace("interval_s = 0.5", "interval_s = 0.25") + '[log]\nlevel = "debug"\n')
        assert site.manager.ctl("reload", f"{name}.service").returncode == 0
        site.until(lambda: "config.changed" in site.log(name), "the change is told")
        site.until(partial(site.gets_on, name), "it gets on with the new configuration")
        assert 'log.level: \\"info\\" -> \\"debug\\"' in site.log(name)
        site.configure(whole(site).replace("cpus = 2", "cpus = 0") + "[budget]\nmax_notes = 3\n")
        assert site.manager.ctl("reload", f"{name}.service").returncode == 0
        site.until(lambda: "refused" in site.unit(name)[1], "the refusal is in its status")
        site.until(lambda: "went well" in site.unit(name)[1], "it gets on all the same")
        state, words, _ = site.unit(name)
        assert state == "active"
        assert "fleet[0].cpus" in words
        assert "budget.max_notes" in words
        assert site.number(name) == number
        assert site.manager.show(f"{name}.service", "ReloadResult") == "success"
    finally:
        site.configure(whole(site))
        site.manager.ctl("restart", f"{name}.service", timeout_s=90.0)


@pytest.mark.parametrize("name", ["jobwatcher", "nodewatcher"])
def test_a_password_that_only_root_may_read_reaches_the_service_by_its_credential(name: str, site: Site, tmp_path: Path) -> None:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    broker = Mosquitto(directory=tmp_path / "broker", users={"head": "swordfish"})
    broker.start()
    secret = site.directory / "secrets" / "mqtt"
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nusername = "head"\npassword_file = "credential:mqtt"\n'
    try:
        site.configure(whole(site) + mqtt)
        site.manager.ctl("stop", f"{name}.service")
        site.manager.ctl("reset-failed", f"{name}.service")
        assert site.manager.ctl("start", f"{name}.service", timeout_s=90.0).returncode != 0, "it was not handed over"
        assert "LoadCredential=mqtt:" in site.log(name), "and it says how to hand it over"
        secret.write_text("swordfish\n")
        secret.chmod(0o600)
        site.amend(name, "[Service]\nLoadCredential=mqtt:/srv/secrets/mqtt\n")
        site.manager.ctl("reset-failed", f"{name}.service")
        assert site.manager.ctl("start", f"{name}.service", timeout_s=90.0).returncode == 0, site.log(name)
        site.until(lambda: "broker.connected" in site.log(name), "it is let in")
        assert "swordfish" not in site.manager.run("cat", f"/var/log/{name}.log").stdout
    finally:
        broker.stop()
        site.amend(name, "")
        site.configure(whole(site))
        site.manager.ctl("stop", f"{name}.service")


def held_back(site: Site, name: str) -> list[dict[str, Any]]:
    """The lines about the starts that had to wait."""
    lines = site.manager.run("cat", f"/var/log/{name}.log").stdout.splitlines()
    return [json.loads(line) for line in lines if '"service.held_back"' in line]


def test_one_whose_starts_fail_waits_longer_each_time_and_starts_at_once_when_it_is_restarted(site: Site) -> None:
    name = "jobwatcher"
    site.manager.ctl("stop", f"{name}.service")
    site.manager.ctl("reset-failed", f"{name}.service")
    before = len(held_back(site, name))
    site.aws.faults.fail("dynamodb", "Scan", error=AwsError("AccessDeniedException", "you may not"))
    try:
        site.amend(name, "[Service]\nEnvironment=HEADNODE_BACK_OFF_S=3\n")  # a start takes one or two
        site.manager.ctl("start", "--no-block", f"{name}.service")
        site.until(lambda: len(held_back(site, name)) >= before + 4, "four starts were held back")
        lines = held_back(site, name)[before:][:4]
        counts, waits = [line["failures"] for line in lines], [line["wait_s"] for line in lines]
        assert counts == list(range(counts[0], counts[0] + 4)), "the first may have taken longer than it would have waited"
        assert all(now < later for now, later in zip(waits, waits[2:], strict=False)), (
            f"four times as long, less a start: {waits}"
        )
        assert all("AccessDeniedException" in line["because"] for line in lines)
        state, words, restarts = site.unit(name)
        assert state == "activating"
        assert words.startswith(f"{counts[-1]} starts in a row failed, the last because ")
        assert restarts == counts[-1]
        assert "tries again in" in words
        assert site.manager.run("sh", "-c", f"stat -c %a:%U /run/headnode/{name}.starts").stdout.strip() == "600:headnode"
        # It waits for 18 s at least; a restart by hand does not.
        site.amend(name, "[Service]\nEnvironment=HEADNODE_BACK_OFF_S=300\n")
        site.aws.faults.clear()
        restarted = site.manager.ctl("restart", f"{name}.service", timeout_s=90.0)
        assert restarted.returncode == 0, site.log(name)
        assert len(held_back(site, name)) == before + 4, "it was not held back again"
        assert site.gets_on(name)
    finally:
        site.aws.faults.clear()
        site.amend(name, "")
        site.manager.ctl("stop", f"{name}.service")
    assert site.manager.run("ls", "-d", "/run/headnode").returncode == 0, "the directory stays for the others"
    assert site.manager.run("ls", f"/run/headnode/{name}.starts").returncode != 0


def test_one_that_waits_before_its_start_is_not_cut_off_by_its_manager_and_stops_when_told(site: Site) -> None:
    """Its start may take 2 s and its watchdog 3 s, and it waits for longer than both."""
    name = "nodewatcher"
    site.manager.ctl("stop", f"{name}.service")
    before = len(held_back(site, name))
    site.aws.faults.fail("dynamodb", "Scan", error=AwsError("AccessDeniedException", "you may not"))
    try:
        site.amend(name, "[Service]\nEnvironment=HEADNODE_BACK_OFF_S=300\nTimeoutStartSec=2\n")
        site.manager.ctl("start", "--no-block", f"{name}.service")
        site.until(lambda: len(held_back(site, name)) > before, "a start is held back")
        waiting = site.number(name)
        since = re.search(r"in (\d+) s", site.unit(name)[1])
        assert since is not None

        def waited_s() -> int:
            now = re.search(r"in (\d+) s", site.unit(name)[1])
            return int(since[1]) - int(now[1]) if now else 0

        site.until(lambda: waited_s() >= 5 or site.number(name) != waiting, "it has waited for five seconds and more")
        assert site.number(name) == waiting
        assert site.manager.ctl("stop", f"{name}.service").returncode == 0
        assert site.manager.show(f"{name}.service", "Result") == "success"
        assert "service.stopped" in site.log(name)
    finally:
        site.aws.faults.clear()
        site.amend(name, "")
        site.manager.ctl("stop", f"{name}.service")


def make_work(site: Site, name: str) -> None:
    """Something that makes the service ask Auto Scaling; two of them do by themselves."""
    if name == "sqswatcher":
        event = {"Event": "autoscaling:EC2_INSTANCE_LAUNCH", "AutoScalingGroupName": site.stack.groups[0]}
        event |= {"EC2InstanceId": "i-0123456789abcdef0", "StatusCode": "InProgress", "Description": ""}
        sqs = client("sqs", endpoint_url=site.stack.endpoint_url, region=site.stack.region)
        body = json.dumps({"Type": "Notification", "Message": json.dumps(event)})
        sqs.send_message(QueueUrl=site.stack.queue_url, MessageBody=body)


@pytest.mark.parametrize("name", SERVICES)
def test_one_that_is_told_to_stop_while_aws_does_not_answer_ends_by_itself_and_soon(name: str, site: Site) -> None:
    """The call alone would take five attempts of 30 s; the manager waits for 60 s here and kills then."""
    faults = site.aws.faults
    site.manager.ctl("stop", f"{name}.service")  # one that runs already keeps its watchdog
    site.amend(name, "[Service]\nTimeoutStopSec=60\nWatchdogSec=120\n")
    try:
        site.start()
        site.until(partial(site.gets_on, name), f"{name} gets on")
        others = [one for one in SERVICES if one != name]
        site.manager.ctl("stop", *(f"{one}.service" for one in others))
        before = faults.count("autoscaling")
        faults.slow("autoscaling", delay_s=100_000.0)
        make_work(site, name)
        site.until(lambda: faults.count("autoscaling") > before, f"{name} asks")
        assert site.manager.ctl("stop", f"{name}.service", timeout_s=DEADLINE_S).returncode == 0
        assert site.manager.show(f"{name}.service", "Result") == "success", "it was not killed"
        assert site.manager.show(f"{name}.service", "ExecMainStatus") == "0"
        assert '"cut-short"' in site.log(name)
        faults.clear()
        assert site.manager.ctl("start", f"{name}.service", timeout_s=90.0).returncode == 0
        site.until(partial(site.gets_on, name), f"{name} goes on")
    finally:
        faults.clear()
        site.amend(name, "")
        site.manager.ctl("stop", f"{name}.service")


def ready(instance: EmulatedInstance) -> str:
    """What a compute node says once it is up."""
    event = {
        "Event": "parallelcluster:COMPUTE_READY",
        "StatusCode": "Complete",
        "Description": "",
        "EC2InstanceId": instance.instance_id,
        "LocalHostname": instance.hostname,
        "Slots": "2",
        "EC2InstanceType": instance.instance_type,
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(event)})


def test_the_agent_is_ready_on_its_instance_tells_how_it_gets_on_and_is_restarted_when_frozen(site: Site) -> None:
    group, region = site.stack.groups[0], site.stack.region
    scaling = client("autoscaling", endpoint_url=site.stack.endpoint_url, region=region)
    scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
    site.until(lambda: site.aws.scaling.instances(group), "an instance runs")
    instance = site.aws.scaling.instances(group)[0]
    imds = site.aws.imds_url(instance.instance_id).rstrip("/")
    lines = ['cluster = "hpc"', f'region = "{region}"', f'queue = "{site.stack.queue_url}"', f'table = "{site.stack.table}"']
    lines += [f'endpoint = "{site.stack.endpoint_url}"', f'imds = "{imds}"']
    (site.directory / "etc" / "agent.toml").write_text("\n".join(lines))
    site.manager.ctl("start", "sqswatcher.service", timeout_s=90.0)
    started = site.manager.ctl("start", f"{AGENT}.service", timeout_s=90.0)
    assert started.returncode == 0, site.log(AGENT) + site.manager.ctl("status", f"{AGENT}.service").stdout
    site.until(lambda: "registered this node" in site.unit(AGENT)[1], "the agent says that its node is registered")
    frozen = site.number(AGENT)
    site.manager.run("kill", f"-{signal.SIGSTOP.value}", str(frozen))
    site.until(partial(site.is_another, AGENT, frozen), "another agent runs")
    site.until(lambda: site.unit(AGENT)[0] == "active", "the other is ready")
    assert site.manager.ctl("stop", f"{AGENT}.service").returncode == 0
    assert site.manager.show(f"{AGENT}.service", "Result") == "success"


def test_one_that_is_killed_in_the_middle_of_its_work_is_restarted_and_loses_nothing(site: Site) -> None:
    site.start()
    group, region = site.stack.groups[0], site.stack.region
    scaling = client("autoscaling", endpoint_url=site.stack.endpoint_url, region=region)
    sqs = client("sqs", endpoint_url=site.stack.endpoint_url, region=region)
    scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=NODES)
    site.until(lambda: len(site.aws.scaling.instances(group)) == NODES, "the instances run")
    for number, instance in enumerate(site.aws.scaling.instances(group)):
        sqs.send_message(QueueUrl=site.stack.queue_url, MessageBody=ready(instance))
        if number % 10 == 5:
            killed = site.number("sqswatcher")
            site.manager.run("kill", "-9", str(killed))
            site.until(partial(site.is_another, "sqswatcher", killed), "another runs")
    site.until(lambda: len(site.nodes()) == NODES, "every node is registered")
    assert site.unit("sqswatcher")[2] >= NODES // 10
    assert {instance.hostname.partition(".")[0] for instance in site.aws.scaling.instances(group)} == site.nodes()


def test_a_configuration_that_cannot_be_used_is_not_tried_again(site: Site) -> None:
    site.manager.ctl("stop", *(f"{name}.service" for name in SERVICES))
    site.configure("cluster = 7\n")
    try:
        for name in SERVICES:
            site.manager.ctl("reset-failed", f"{name}.service")
            assert site.manager.ctl("start", f"{name}.service").returncode != 0
            assert site.unit(name)[0] == "failed"
            assert site.unit(name)[2] == 0
            assert "the configuration cannot be used" in site.log(name)
    finally:
        site.configure(whole(site))


def test_one_that_is_told_to_stop_while_it_changes_something_awaits_that(site: Site) -> None:
    """The answer takes longer than one to a question might: it comes before the end, and is heeded."""
    name, group, faults = "jobwatcher", site.stack.groups[0], site.aws.faults
    database = site.directory / "local" / "local.db"
    site.manager.ctl("stop", f"{name}.service")  # one that runs already keeps its watchdog
    site.amend(name, "[Service]\nWatchdogSec=120\n")
    site.start()
    try:
        site.until(partial(site.gets_on, name), f"{name} gets on")
        site.manager.ctl("stop", "nodewatcher.service")
        desired = site.aws.scaling.group(group).desired
        before = faults.count("autoscaling", "SetDesiredCapacity")
        faults.slow("autoscaling", "SetDesiredCapacity", delay_s=3 * GRACE_S)
        with contextlib.closing(store.connect(database, timeout_s=10.0)) as db, store.transaction(db):
            for _ in range(40):
                engine.submit(db, JobSpec(name="waits", script="#!/bin/true", per_node=Shape(cpus=2)), now=time.time())
        site.lend_files()
        site.until(lambda: faults.count("autoscaling", "SetDesiredCapacity") > before, f"{name} asks for more")
        assert site.manager.ctl("stop", f"{name}.service", timeout_s=DEADLINE_S).returncode == 0
        assert site.manager.show(f"{name}.service", "Result") == "success"
        assert "capacity.raised" in site.log(name)
        assert site.aws.scaling.group(group).desired > desired
    finally:
        faults.clear()
        site.amend(name, "")
        site.manager.ctl("stop", *(f"{one}.service" for one in SERVICES))
