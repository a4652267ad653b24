"""A real Mosquitto with the files that `headnode mqtt` renders: a node speaks for itself alone."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemons.broker import read_users, render_acl, with_user, without_users
from daemons.cli import app
from daemons.config.values import MqttConfig
from daemons.errors import InvalidValue
from daemons.metrics import GONE, HostReading, Topics, render_reading
from daemons.mqtt import BrokerUnavailable, Heard, publish, subscribed
from sandbox.mosquitto import Mosquitto, find_mosquitto
from sandbox.slurm.host import free_ports
from tests.needs import skip_or_fail

TOPICS = Topics("headnode", "hpc")
ONE, TWO = "i-00000001", "i-00000002"
DEADLINE_S = 60.0

HEAD = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "local"
settings = {{ file = "/var/lib/headnode/local.sqlite" }}
[mqtt]
host = "127.0.0.1"
port = {port}
username = "watcher"
password_file = "{password}"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


@dataclass
class Site:
    """A broker set up as an operator would, by the command line."""

    directory: Path
    port: int
    broker: Mosquitto | None = None

    def run(self, *argv: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(app, ["mqtt", *argv])
        assert result.exit_code == exit_code, (result.output, result.exception)
        return result.output

    def password_of(self, user: str) -> str:
        return str(self.directory / f"{user}.password")

    @property
    def passwords(self) -> Path:
        return self.directory / "headnode.passwords"

    def add(self, user: str) -> MqttConfig:
        self.run("user", user, "--passwords", str(self.passwords), "--password-file", self.password_of(user))
        return self.config(user)

    def config(self, user: str) -> MqttConfig:
        return MqttConfig(host="127.0.0.1", port=self.port, username=user, password_file=self.password_of(user))

    def start(self) -> None:
        self.broker = Mosquitto(directory=self.directory / "broker", conf=self.directory / "headnode.conf", port=self.port)
        self.broker.start()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    one = Site(tmp_path, free_ports(1)[0])
    config = tmp_path / "headnode.toml"
    config.write_text(HEAD.format(port=one.port, password=one.password_of("watcher")))
    one.run("render", "--config", str(config), "--directory", str(tmp_path), "--waker", "login")
    yield one
    if one.broker is not None:
        one.broker.stop()


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < give_up_at, "this did not become true"
        await asyncio.sleep(0.02)


async def test_a_node_is_heard_under_its_own_id_and_never_under_anothers(site: Site) -> None:
    watcher, one, login = site.add("watcher"), site.add(ONE), site.add("login")
    site.start()
    heard: list[Heard] = []
    everything = [TOPICS.state("+"), TOPICS.reading("+"), TOPICS.wake, TOPICS.head]
    async with subscribed(watcher, everything, heard.append, identifier="watcher") as line:
        await until(lambda: line.is_up)
        for topic in (TOPICS.reading(TWO), TOPICS.state(TWO), TOPICS.head, TOPICS.wake):
            await publish(one, topic, b"a lie", identifier=f"agent-{ONE}")
        await publish(one, TOPICS.reading(TWO), b"a lie", identifier=f"agent-{TWO}")  # a client's own name proves nothing
        await publish(login, TOPICS.reading(ONE), b"a lie", identifier="login")
        await publish(login, TOPICS.wake, b"submit", identifier="login")
        await publish(one, TOPICS.reading(ONE), b"the truth", identifier=f"agent-{ONE}")
        await until(lambda: any(message.payload == b"the truth" for message in heard))
    assert {(message.topic, message.payload) for message in heard} == {
        (TOPICS.reading(ONE), b"the truth"),
        (TOPICS.wake, b"submit"),
    }


class Authority:
    """Signs certificates for who is named in them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.cert = self._signed("authority", "-x509")[0]

    def names(self, who: str) -> tuple[str, str]:
        """A certificate and its key."""
        signed_by = ("-CA", self.cert, "-CAkey", self.cert.replace(".pem", ".key"), "-addext", "subjectAltName=IP:127.0.0.1")
        return self._signed(who, "-x509", *signed_by)

    def _signed(self, who: str, *how: str) -> tuple[str, str]:
        cert, key = (str(self._directory / f"{who}.{kind}") for kind in ("pem", "key"))
        argv = ["openssl", "req", *how, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        subprocess.run([*argv, "-subj", f"/CN={who}", "-keyout", key, "-out", cert], check=True, capture_output=True)
        return cert, key


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to the collector
async def test_where_certificates_let_in_a_node_is_whom_its_own_names(site: Site) -> None:
    authority = Authority(site.directory)
    server_cert, server_key = authority.names("server")
    file = site.directory / "certificates.toml"
    text = (site.directory / "headnode.toml").read_text().replace('username = "watcher"', "tls = true")
    file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("password_file")))
    files = ("--cert-file", server_cert, "--key-file", server_key, "--client-ca", authority.cert)
    told = site.run("render", "--config", str(file), "--directory", str(site.directory), *files)
    assert "headnode.passwords" not in told
    site.start()

    def config(who: str) -> MqttConfig:
        cert, key = authority.names(who)
        return MqttConfig(host="127.0.0.1", port=site.port, tls=True, ca_file=authority.cert, cert_file=cert, key_file=key)

    head, one = config("headnode"), config(ONE)
    heard: list[Heard] = []
    async with subscribed(head, [TOPICS.reading("+")], heard.append, identifier="head") as line:
        await until(lambda: line.is_up)
        await publish(one, TOPICS.reading(TWO), b"a lie", identifier=f"agent-{TWO}")
        await publish(one, TOPICS.reading(ONE), b"the truth", identifier=f"agent-{ONE}")
        await until(lambda: bool(heard))
    assert [(message.topic, message.payload) for message in heard] == [(TOPICS.reading(ONE), b"the truth")]
    with pytest.raises(BrokerUnavailable):
        await publish(replace(one, cert_file="", key_file=""), TOPICS.reading(ONE), b"nobody", identifier="stranger")


async def test_a_node_hears_the_head_and_no_other_node(site: Site) -> None:
    watcher, one, two = site.add("watcher"), site.add(ONE), site.add(TWO)
    site.start()
    heard: list[Heard] = []
    async with subscribed(one, [TOPICS.head, TOPICS.state("+"), TOPICS.reading("+")], heard.append, identifier="one") as line:
        await until(lambda: line.is_up)
        await publish(two, TOPICS.reading(TWO), render_reading(HostReading()), identifier="two")
        await publish(watcher, TOPICS.head, b"here", identifier="watcher")
        await until(lambda: bool(heard))
    assert [message.topic for message in heard] == [TOPICS.head]


async def test_the_head_clears_what_a_node_that_is_no_more_left_at_the_broker(site: Site) -> None:
    watcher, one = site.add("watcher"), site.add(ONE)
    site.start()
    heard: list[Heard] = []
    async with subscribed(one, [TOPICS.head], heard.append, identifier="one") as line:
        await until(lambda: line.is_up)
        assert await line.say(TOPICS.state(ONE), GONE, retain=True)
    async with subscribed(watcher, [TOPICS.state("+")], heard.append, identifier="watcher") as line:
        await until(lambda: any(message.retained and message.payload == GONE for message in heard))
        assert await line.say(TOPICS.state(ONE), b"", retain=True)
        await until(lambda: any(not message.payload for message in heard))
    later: list[Heard] = []
    async with subscribed(watcher, [TOPICS.state("+"), TOPICS.wake], later.append, identifier="watcher") as line:
        await until(lambda: line.is_up)
        await line.say(TOPICS.wake, b"the end")
        await until(lambda: bool(later))
    assert [message.topic for message in later] == [TOPICS.wake]


async def test_a_user_that_was_taken_away_is_not_let_in(site: Site) -> None:
    one = site.add(ONE)
    two = site.add(TWO)
    site.run("user", ONE, "i-0000dead", "--remove", "--passwords", str(site.passwords))
    site.start()
    await publish(two, TOPICS.reading(TWO), b"hello", identifier="two")
    with pytest.raises(BrokerUnavailable):
        await publish(one, TOPICS.reading(ONE), b"hello", identifier="one")
    with pytest.raises(BrokerUnavailable):
        await publish(replace(one, password_file=site.password_of(TWO)), TOPICS.reading(ONE), b"hello", identifier="one")


def test_no_password_is_printed_where_a_file_is_named_and_files_are_their_owners_alone(site: Site) -> None:
    output = site.run("user", ONE, "--passwords", str(site.passwords), "--password-file", site.password_of(ONE))
    assert output == ""
    assert Path(site.password_of(ONE)).stat().st_mode & 0o777 == 0o600
    assert site.passwords.stat().st_mode & 0o777 == 0o600
    assert Path(site.password_of(ONE)).read_text().strip() not in site.passwords.read_text()
    printed = site.run("user", TWO, "--passwords", str(site.passwords))
    assert len(printed.strip()) >= 32
    assert set(read_users(site.passwords.read_text())) == {ONE, TWO}


def test_a_broken_password_file_is_refused_whole(site: Site) -> None:
    site.passwords.write_text("good:$7$x\nbroken line\n")
    result = CliRunner().invoke(app, ["mqtt", "user", ONE, "--passwords", str(site.passwords)])
    assert isinstance(result.exception, InvalidValue)
    assert "line 2" in str(result.exception)
    assert site.passwords.read_text() == "good:$7$x\nbroken line\n"


@pytest.mark.parametrize("user", ["", "a b", "a\nuser b", "#", "+", "a:b", "x" * 200])
def test_a_user_that_could_write_lines_of_its_own_is_refused(user: str) -> None:
    with pytest.raises(InvalidValue):
        render_acl(TOPICS, services=[user])
    with pytest.raises(InvalidValue):
        with_user("", user, "secret", salt=b"salt")


def test_users_come_and_go_and_the_others_stay() -> None:
    text = with_user(with_user("", ONE, "a", salt=b"1"), TWO, "b", salt=b"2")
    assert set(read_users(text)) == {ONE, TWO}
    changed = with_user(text, ONE, "c", salt=b"3")
    assert read_users(changed)[TWO] == read_users(text)[TWO]
    assert read_users(changed)[ONE] != read_users(text)[ONE]
    assert set(read_users(without_users(changed, [ONE, "nobody"]))) == {TWO}
