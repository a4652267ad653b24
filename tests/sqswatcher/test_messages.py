"""What comes from the queue becomes a value: whatever its wrapping, and whatever it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemons.model import Hostname, InstanceId
from sqswatcher.messages import (
    Activity,
    ComputeReady,
    Hook,
    Launched,
    LaunchFailed,
    LaunchWaits,
    Malformed,
    Message,
    RebalanceRecommended,
    ScheduledChange,
    SpotInterruption,
    StateChanged,
    Terminated,
    TerminateFailed,
    TerminateWaits,
    TestNotification,
    Unknown,
    WarmPoolWaits,
)
from sqswatcher.parse import parse_message

HERE = Path(__file__).parent
ID = InstanceId("i-0c9f3a52c7de10001")
GROUP = "hpc-compute-Fleet-1ABCDEFGHIJKL"
AT_1000 = 1_795_428_000.0  # 2026-11-23T10:00:00Z
AT_1050 = AT_1000 + 3000

HOOK = Hook(
    instance_id=ID,
    group=GROUP,
    name="headnode-terminate",
    token="87654321-4321-4321-4321-210987654321",
    origin="AutoScalingGroup",
    destination="EC2",
    metadata="drain-first",
)
LACKING = (
    "We currently do not have sufficient hpc7a.96xlarge capacity in the Availability Zone you requested (eu-west-1a). "
    "Launching EC2 instance failed."
)
RAISED = "At 2026-11-23T10:15:02Z a user request update of AutoScalingGroup constraints changed the desired capacity from 0 to 1."

EXPECTED: dict[str, Message] = {
    "asg_launch.sns.json": Launched(
        instance_id=ID,
        group=GROUP,
        at=AT_1000 + 930.912,
        activity=Activity(
            activity_id="f4d8c8a1-2f0b-9a0c-ab6b-0c9b5a6f1d11",
            status="InProgress",
            cause=RAISED,
            description="Launching a new EC2 instance: i-0c9f3a52c7de10001",
            zone="eu-west-1a",
        ),
    ),
    "asg_launch_error.sns.json": LaunchFailed(
        instance_id=None,
        group=GROUP,
        at=AT_1000 + 930.912,
        activity=Activity(
            activity_id="f4d8c8a1-2f0b-9a0c-ab6b-0c9b5a6f1d11",
            status="Failed",
            message=LACKING,
            cause=RAISED,
            description=f"Launching a new EC2 instance.  Status Reason: {LACKING}",
            zone="eu-west-1a",
        ),
    ),
    "asg_terminate.sns.json": Terminated(
        instance_id=ID,
        group=GROUP,
        at=AT_1000 + 930.912,
        activity=Activity(
            activity_id="f4d8c8a1-2f0b-9a0c-ab6b-0c9b5a6f1d11",
            status="InProgress",
            cause="At 2026-11-23T11:40:01Z instance was taken out of service in response to a user request, "
            "shrinking the capacity from 1 to 0.",
            description="Terminating EC2 instance: i-0c9f3a52c7de10001",
            zone="eu-west-1a",
        ),
    ),
    "asg_test.sns.json": TestNotification(group=GROUP, at=AT_1000),
    "compute_ready.json": ComputeReady(
        instance_id=ID, hostname=Hostname("ip-10-0-1-23"), slots=8, instance_type="c5.2xlarge", status="Complete"
    ),
    "health_scheduled_change.eventbridge.json": ScheduledChange(
        instance_ids=(ID,),
        code="AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
        description="scheduled for retirement",
        starts_at=AT_1000 + 86_400,
        ends_at=AT_1000 + 86_400 + 7200,
        closed=False,
        at=AT_1050,
    ),
    "hook_launching.sns.json": LaunchWaits(
        at=AT_1000 + 906.123,
        hook=Hook(
            instance_id=ID,
            group=GROUP,
            name="headnode-launch",
            token="87654321-4321-4321-4321-210987654321",
            origin="EC2",
            destination="AutoScalingGroup",
        ),
    ),
    "hook_terminating.bare.json": TerminateWaits(hook=HOOK, at=AT_1000 + 906.123),
    "hook_terminating_warmpool.bare.json": WarmPoolWaits(
        at=AT_1000 + 906.123,
        returns=True,
        hook=Hook(
            instance_id=ID,
            group=GROUP,
            name="headnode-terminate",
            token="87654321-4321-4321-4321-210987654321",
            origin="AutoScalingGroup",
            destination="WarmPool",
        ),
    ),
    "hook_test.bare.json": TestNotification(group=GROUP, at=AT_1000),
    "launch_unsuccessful.eventbridge.json": LaunchFailed(
        instance_id=None,
        group=GROUP,
        at=AT_1050,
        activity=Activity(
            activity_id="87654321-4321-4321-4321-210987654321",
            status="Failed",
            message="Your Spot request price of 0.001 is lower than the minimum required Spot request fulfillment price of 0.45. "
            "Launching EC2 instance failed.",
            cause="description-text",
            zone="eu-west-1b",
        ),
    ),
    "rebalance.eventbridge.json": RebalanceRecommended(instance_id=ID, at=AT_1050),
    "spot_interruption.eventbridge.json": SpotInterruption(instance_id=ID, action="terminate", at=AT_1050),
    "state_change.eventbridge.json": StateChanged(instance_id=ID, state="shutting-down", at=AT_1050),
}


def event(name: str) -> dict[str, Any]:
    """The bare message of that file."""
    found: dict[str, Any] = json.loads((HERE / "events" / name).read_text())
    return json.loads(found["Message"]) if "Message" in found else found


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    return message


def _sns(message: dict[str, Any]) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads((HERE / "events/asg_launch.sns.json").read_text())
    return {**envelope, "Message": json.dumps(message)}


def _node(message: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "Message": json.dumps(message)}


def _eventbridge(message: dict[str, Any]) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads((HERE / "events/rebalance.eventbridge.json").read_text())
    return {**envelope, "detail-type": "a site's own relay", "source": "site", "detail": message}


WRAPPINGS = (_bare, _sns, _node, _eventbridge)


def test_every_event_file_has_an_expected_value() -> None:
    assert {path.name for path in (HERE / "events").iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_event_as_it_arrives_becomes_its_value(name: str) -> None:
    assert parse_message((HERE / "events" / name).read_text()) == EXPECTED[name]


@pytest.mark.parametrize("outer", WRAPPINGS)
@pytest.mark.parametrize("inner", WRAPPINGS)
@pytest.mark.parametrize("name", EXPECTED)
def test_the_value_does_not_depend_on_the_wrappings(
    name: str, inner: Callable[[dict[str, Any]], dict[str, Any]], outer: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    assert parse_message(json.dumps(outer(inner(event(name))))) == EXPECTED[name]


def test_a_test_notification_may_sit_in_the_transition() -> None:
    message = event("hook_test.bare.json")
    message["LifecycleTransition"] = message.pop("Event")
    assert parse_message(json.dumps(message)) == EXPECTED["hook_test.bare.json"]


def test_a_test_notification_needs_no_more_than_its_kind() -> None:
    assert parse_message('{"Event": "autoscaling:TEST_NOTIFICATION"}') == TestNotification(group="", at=None)


def test_a_failed_termination_may_or_may_not_name_its_instance() -> None:
    message = {**event("asg_launch_error.sns.json"), "Event": "autoscaling:EC2_INSTANCE_TERMINATE_ERROR"}
    for given_id, instance_id in ((None, None), ("", None), (ID, ID)):
        found = parse_message(json.dumps({**message, "EC2InstanceId": given_id}))
        assert isinstance(found, TerminateFailed)
        assert (found.instance_id, found.group, found.activity.status) == (instance_id, GROUP, "Failed")


@pytest.mark.parametrize(
    ("detail_type", "name"),
    [
        ("EC2 Instance Launch Successful", "asg_launch.sns.json"),
        ("EC2 Instance Launch Unsuccessful", "asg_launch_error.sns.json"),
        ("EC2 Instance Terminate Successful", "asg_terminate.sns.json"),
        ("EC2 Instance-launch Lifecycle Action", "hook_launching.sns.json"),
        ("EC2 Instance-terminate Lifecycle Action", "hook_terminating.bare.json"),
        ("EC2 Instance-terminate Lifecycle Action", "hook_terminating_warmpool.bare.json"),
    ],
)
def test_auto_scalings_eventbridge_kinds_say_the_same_as_its_notifications(detail_type: str, name: str) -> None:
    bare = event(name)
    detail = {key: value for key, value in bare.items() if key not in ("Event", "Time", "Service")}
    body = {"detail-type": detail_type, "source": "aws.autoscaling", "time": bare["Time"], "detail": detail}
    assert parse_message(json.dumps(body)) == EXPECTED[name]


def test_a_new_instance_on_its_way_into_the_warm_pool_is_no_launch() -> None:
    found = parse_message(json.dumps({**event("hook_launching.sns.json"), "Destination": "WarmPool"}))
    assert isinstance(found, WarmPoolWaits)
    assert (found.hook.name, found.returns) == ("headnode-launch", False)


def test_leaving_the_warm_pool_for_good_is_an_end() -> None:
    found = parse_message(json.dumps({**event("hook_terminating.bare.json"), "Origin": "WarmPool"}))
    assert isinstance(found, TerminateWaits)


def test_a_scheduled_change_names_each_of_its_instances_once_and_nothing_else() -> None:
    message = event("health_scheduled_change.eventbridge.json")
    other = "i-0c9f3a52c7de10002"
    message["detail"]["affectedEntities"] = [
        {"entityValue": ID},
        {"entityValue": f"arn:aws:ec2:eu-west-1:123456789012:instance/{other}"},
        {"entityValue": "vol-0c9f3a52c7de10001"},
        {"entityValue": ID},
        "nonsense",
    ]
    message["detail"]["statusCode"] = "closed"
    found = parse_message(json.dumps(message))
    assert isinstance(found, ScheduledChange)
    assert (found.instance_ids, found.closed) == ((ID, other), True)


def test_a_time_with_an_offset_is_the_same_moment() -> None:
    message = {**event("hook_test.bare.json"), "Time": "2026-11-23T11:00:00+01:00"}
    assert parse_message(json.dumps(message)) == EXPECTED["hook_test.bare.json"]


def corpus(kind: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((HERE / "corpus" / kind).iterdir())]


@pytest.mark.parametrize("path", corpus("malformed"))
def test_a_body_that_cannot_be_relied_on_is_malformed(path: Path) -> None:
    found = parse_message(path.read_text(encoding="utf-8"))
    assert isinstance(found, Malformed)
    assert found.reason
    _is_safe_to_log(found)


@pytest.mark.parametrize("path", corpus("unknown"))
def test_a_sound_message_of_another_kind_is_unknown(path: Path) -> None:
    found = parse_message(path.read_text(encoding="utf-8"))
    assert isinstance(found, Unknown)
    assert found.kind
    _is_safe_to_log(found)


@pytest.mark.parametrize("path", corpus("harmless"))
def test_what_only_informs_may_be_odd(path: Path) -> None:
    found = parse_message(path.read_text(encoding="utf-8"))
    assert isinstance(found, Launched | TerminateWaits | ComputeReady)
    _is_safe_to_log(found)


def _is_safe_to_log(message: Message) -> None:
    """All text is one bounded line that can be encoded."""
    for text in _texts(message):
        assert text.isprintable()
        assert len(text.encode()) <= 4 * 1024


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for member in value for text in _texts(member)]
    return [text for name in getattr(type(value), "__dataclass_fields__", ()) for text in _texts(getattr(value, name))]


@pytest.mark.parametrize(
    "body",
    [
        "[" * 1_000_000,
        '{"a":' * 200_000,
        '{"Event": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"Event": "' + "x" * (1 << 20) + '"}',
        '{"Type": "Notification", "Message": ' + json.dumps('{"a":' * 100_000) + "}",
        "\ud800\udfff{}",
        '{"Event": "\ud800"',
        "\x00" * 1000,
    ],
    ids=["arrays", "objects", "closed", "huge", "inside an envelope", "surrogates", "a surrogate cut off", "nul"],
)
def test_no_depth_size_or_encoding_gets_through(body: str) -> None:
    found = parse_message(body)
    assert isinstance(found, Malformed)
    _is_safe_to_log(found)


def test_the_reason_says_which_field_and_what_came() -> None:
    message = {**event("compute_ready.json"), "LocalHostname": "--force"}
    found = parse_message(json.dumps(message))
    assert isinstance(found, Malformed)
    assert found.kind == "parallelcluster:COMPUTE_READY"
    assert found.reason == "LocalHostname: '--force' is not a host name's label (such as ip-10-0-1-23)"


_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(
        ["--all", "../x", "a\nb", "$(reboot)", "i-0c9f3a52c7de10001", "0", "WarmPool", "\ud800", {}, [], [[]], {"a": []}]
    ),
)
_EVENTS = {name: event(name) for name in EXPECTED}


def _keys(message: dict[str, Any]) -> list[str]:
    return sorted({*message, *(message.get("detail") or {})})


@st.composite
def spoiled_bodies(draw: st.DrawFn) -> str:
    """A real event with fields replaced, dropped or added, wrapped a few times, and perhaps cut off."""
    message = json.loads(json.dumps(_EVENTS[draw(st.sampled_from(sorted(_EVENTS)))]))
    for key in draw(st.lists(st.sampled_from(_keys(message)), max_size=3)):
        place = message["detail"] if key in (message.get("detail") or {}) else message
        if draw(st.booleans()):
            place[key] = draw(_JUNK)
        else:
            place.pop(key, None)
        if not isinstance(message.get("detail", {}), dict):
            break
    for wrap in draw(st.lists(st.sampled_from(WRAPPINGS), max_size=3)):
        message = wrap(message)
    body = json.dumps(message, ensure_ascii=draw(st.booleans()))
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body


quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(quietly, max_examples=3000)
@given(spoiled_bodies())
def test_a_spoiled_message_is_never_an_error_and_never_unsafe(body: str) -> None:
    found = parse_message(body)
    assert isinstance(found, Message)
    _is_safe_to_log(found)


_ANY_JSON = st.recursive(
    _JUNK,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Type", "Message", "Event", "LifecycleTransition", "detail-type", "detail", "EC2InstanceId"]), inner
        )
    ),
    max_leaves=8,
).map(json.dumps)


@settings(quietly, max_examples=2000)
@given(_ANY_JSON)
def test_no_json_is_an_error(body: str) -> None:
    _is_safe_to_log(parse_message(body))


@settings(quietly, max_examples=5000)
@given(st.text(alphabet=st.characters(), max_size=300))
@example("\ufeff{}")
def test_no_text_is_an_error(body: str) -> None:
    assert isinstance(parse_message(body), Malformed | Unknown)
