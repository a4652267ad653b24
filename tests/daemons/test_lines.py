"""No line without end, none with a secret."""

import asyncio
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from daemons.aws.session import translated
from daemons.config import parse_config
from daemons.errors import ConfigError, HeadnodeError
from daemons.lines import LONGEST_LINE, presentable, without_secrets
from daemons.logs import configure_logs, hear_lines, set_level
from schedulers.plugins import load_settings

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

log = structlog.get_logger()


@pytest.fixture
def stream() -> io.StringIO:
    chosen = io.StringIO()
    configure_logs(level="info", stream=chosen)
    return chosen


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    told: dict[str, Any] = json.loads(line)
    return told


def test_a_long_text_is_cut_and_says_how_long_it_was(stream: io.StringIO) -> None:
    log.info("some.event", because="x" * 1_000_000)
    because = only(stream)["because"]
    assert because.startswith("x" * 2_000)
    assert because.endswith(" … cut, 1000000 characters in all")


def test_a_long_list_is_cut_and_says_how_long_it_was(stream: io.StringIO) -> None:
    log.info("some.event", hosts=[f"node-{number}" for number in range(10_000)])
    hosts = only(stream)["hosts"]
    assert (hosts[0], hosts[-1], len(hosts)) == ("node-0", "… cut, 10000 in all", 51)


def test_a_library_s_line_is_bounded_too(stream: io.StringIO) -> None:
    logging.getLogger("a.library").warning("y" * 100_000)
    assert len(only(stream)["event"]) < 2_100


def test_what_is_short_is_left_as_it_is(stream: io.StringIO) -> None:
    log.info("some.event", count=3, share=0.5, ok=True, nothing=None, hosts=["a", "b"], facts={"x": [1, 2]})
    line = only(stream)
    assert [line[name] for name in ("count", "share", "ok", "nothing", "hosts", "facts")] == [
        3,
        0.5,
        True,
        None,
        ["a", "b"],
        {"x": [1, 2]},
    ]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5_000) | st.binary(max_size=100),
    lambda inner: st.lists(inner, max_size=80) | st.dictionaries(st.text(max_size=20), inner, max_size=80) | st.sets(st.text()),
    max_leaves=200,
)


@given(st.dictionaries(st.text(min_size=1, max_size=20), _ANY, max_size=150))
def test_no_line_grows_without_limit(line: dict[str, Any]) -> None:
    rendered = json.dumps(presentable(None, "", line), default=str, ensure_ascii=False)
    assert len(rendered) < 8 * LONGEST_LINE


def test_a_flood_of_fields_and_nested_lists_is_one_short_line() -> None:
    flood: Any = "z" * 10_000
    for _ in range(4):
        flood = [flood] * 60
    assert len(json.dumps(presentable(None, "", {"event": "e", "flood": [["z" * 9_000] * 100] * 4}))) < 60_000
    assert len(presentable(None, "", {f"field_{number}": number for number in range(1_000)})) == 121


@pytest.mark.parametrize(
    "text",
    [
        f"aws_secret_access_key={SECRET}",
        f"SecretAccessKey: '{SECRET}'",
        f'{{"SecretAccessKey": "{SECRET}"}}',
        f"https://user:{SECRET.replace('/', '-')}@broker.hpc.internal/path",
        f"GET /?X-Amz-Signature={SECRET}&Action=x",
        f"Authorization: AWS4-HMAC-SHA256 {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"X-Amz-Security-Token={SECRET}",
        f"the password is {SECRET}",
        f"HEADNODE_MQTT_PASSWORD={SECRET}",
        f"the role's_session_token={SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n{SECRET}",
    ],
)
def test_credentials_in_a_text_are_not_shown(text: str) -> None:
    told = without_secrets(text)
    assert SECRET not in told
    assert SECRET.replace("/", "-") not in told
    assert "(not shown)" in told


def test_an_access_key_id_is_not_shown() -> None:
    assert without_secrets(f"Credential={KEY_ID}/20261125") == "Credential=(not shown)/20261125"


@pytest.mark.parametrize(
    "text",
    [
        "register ip-10-0-0-7: done",
        "headnode-agent: --password-file /etc/headnode/broker.password",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/hpc-events",
        "because of token bucket refill, authorization was not asked for",
        "AKIA is how an access key begins",
    ],
)
def test_plain_words_are_shown(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["password", "aws_secret_access_key", "session_token", "Authorization", "private_key", "token"])
def test_a_field_that_is_called_a_secret_is_not_shown(stream: io.StringIO, name: str) -> None:
    log.info("some.event", **{name: SECRET}, nested=[{name: SECRET}])
    assert SECRET not in stream.getvalue()


def _refused_with_credentials() -> None:
    answer: Any = {"Error": {"Code": "SignatureDoesNotMatch", "Message": f"Credential={KEY_ID} aws_secret_access_key={SECRET}"}}
    with translated("receiving", "hpc-events"):
        raise ClientError(answer, "ReceiveMessage")


def _config_with_a_password() -> None:
    text = f'cluster = "hpc"\nregion = "eu-west-1"\nqueue = "https://me:{SECRET.replace("/", "-")}@sqs.example.org/x"\n'
    parse_config(text, load_settings=load_settings)


@pytest.mark.parametrize("failing", [_refused_with_credentials, _config_with_a_password])
def test_an_error_with_credentials_in_it(stream: io.StringIO, failing: Callable[[], None]) -> None:
    with pytest.raises(HeadnodeError) as caught:
        failing()
    log.error("service.failed", **caught.value.to_event())
    if isinstance(caught.value, ConfigError):
        assert not any(SECRET[:20].replace("/", "-") in problem for problem in caught.value.problems)
    assert SECRET not in stream.getvalue()
    assert SECRET.replace("/", "-") not in stream.getvalue()
    assert KEY_ID not in stream.getvalue()


def test_a_crash_shows_where_and_no_local_variables(stream: io.StringIO) -> None:
    def crash() -> None:
        hidden = SECRET
        raise RuntimeError(f"with {len(hidden)} characters")

    try:
        crash()
    except RuntimeError:
        logging.getLogger("asyncio").exception("a task crashed")
    told = only(stream)
    assert told["exception"][0]["frames"][-1]["name"] == "crash"
    assert SECRET not in stream.getvalue()


async def test_what_is_heard_for_elsewhere_is_the_same(stream: io.StringIO, tmp_path: Path) -> None:
    heard: list[str] = []
    with hear_lines(heard.append):
        await asyncio.to_thread(log.info, "some.event", password=SECRET, because="b" * 9_000)
    assert heard == stream.getvalue().splitlines()


def refuse(text: str) -> None:
    raise ValueError(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_words_of_others_move_no_cursor_make_no_lines_and_show_no_secrets() -> None:
    screen = Terminal()
    configure_logs(level="info", stream=screen)
    log.info("some.event", job="\x1b[2J\x9bm", because="one \x1b[2J", jobs=["\x1b[2J"])
    logging.getLogger("a.library").warning("careful\n\x1b[2Jsome.event")
    try:
        refuse(f"\x1b[2J password={SECRET}")
    except ValueError:
        log.exception("a.crash")
    shown = screen.getvalue()
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert SECRET not in shown
    first, second, *crash = shown.splitlines()
    assert first.count("\\x1b[2J") == 3
    assert "careful\\n\\x1b[2Jsome.event" in second
    assert crash[-1] == "ValueError: \\x1b[2J password=(not shown)"


class Wordless:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_a_line_that_cannot_be_written_stops_nobody_wherever_lines_go(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level="info", stream=stream)  # without pytest's own handler, for which such a line is a failure
    heard: list[str] = []
    with hear_lines(heard.append):
        logging.getLogger("a.library").warning("%d of %d", *[1])
        log.info("some.event", value=Wordless())
        log.info("some.event", value=10**5_000)
        log.info("next.event")
    assert [json.loads(text)["event"] for text in heard] == ["next.event"]
    assert [json.loads(text)["event"] for text in stream.getvalue().splitlines() if "next" in text] == ["next.event"]
    assert "Logging error" in capsys.readouterr().err


def test_the_level_changes_for_everybody_who_has_logged_before(stream: io.StringIO) -> None:
    log.debug("too.early")
    set_level("debug")
    log.debug("now.heard")
    logging.getLogger("a.library").debug("heard too")
    logging.getLogger("botocore.endpoint").debug("never heard")
    set_level("warning")
    log.info("too.late")
    log.warning("still.heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["now.heard", "heard too", "still.heard"]
