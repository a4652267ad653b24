"""From the body of a queue message to a value. Pure and total: every string becomes a `Message`.

A body may come raw, in an SNS envelope, in the one that compute nodes use, or as an EventBridge event, and these may hold one
another; the value is the same. What is acted on (ids, names, tokens) is validated, or the message is `Malformed`; what only
informs (causes, times, zones) is cleaned, bounded, and empty where it makes no sense.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from daemons.errors import InvalidValue
from daemons.model import Hostname, InstanceId
from daemons.names import (
    parse_address,
    parse_group_name,
    parse_hostname,
    parse_instance_id,
    parse_instance_type,
    parse_match,
)
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
from sqswatcher.readers import Unreadable, allow, clean, read_json, read_time, require, section

Fields = Mapping[str, Any]
Parse = Callable[[Fields, float | None], Message]

DEEPEST_WRAPPING = 4
MOST_SLOTS = 65_536
MOST_ENTITIES = 1000


def parse_message(body: str) -> Message:
    """What the body says. Raises nothing, whatever it is."""
    kind = ""
    try:
        fields, at = _unwrap(body)
        key = _kind_key(fields)
        kind = _kind(fields, key)
        parse = (_EVENTBRIDGE if key == "detail-type" else _KINDS).get(kind)
        return parse(fields, at) if parse else Unknown(kind=kind)
    except Unreadable as err:
        return Malformed(reason=clean(str(err), most=200), kind=kind, excerpt=clean(body, most=200))


def kind_of(body: str) -> str:
    """What kind of message it seems to be, "" where nothing says so. Raises nothing."""
    try:
        fields, _ = _unwrap(body)
        return _kind(fields, _kind_key(fields))
    except Unreadable:
        return ""


def _unwrap(body: str) -> tuple[Fields, float | None]:
    """The innermost message and its own time. An envelope's time, which only says when it was sent, is left out; an EventBridge
    event is an envelope if it is none of AWS's kinds and its detail is a message by itself.
    """
    fields = read_json(body)
    for _ in range(DEEPEST_WRAPPING + 1):
        detail = section(fields, "detail")
        if "detail-type" in fields:
            if _kind(fields, "detail-type") in _EVENTBRIDGE or not _speaks(detail):
                return fields, read_time(fields, "time")
            fields = detail
        elif "Message" in fields and fields.get("Type", "Notification") == "Notification" and "Event" not in fields:
            inner = fields["Message"]
            fields = read_json(inner) if isinstance(inner, str) else section(fields, "Message")
        else:
            return fields, read_time(fields, "Time")
    raise Unreadable(f"more than {DEEPEST_WRAPPING} envelopes in one another")


def _speaks(fields: Fields) -> bool:
    return bool({"Event", "LifecycleTransition", "Message", "detail-type"} & fields.keys())


def _kind_key(fields: Fields) -> str:
    """The field that says what kind of message it is. A test of a hook may have it in either of Auto Scaling's two."""
    for key in ("detail-type", "Event", "LifecycleTransition", "Type"):
        if key in fields:
            return key
    raise Unreadable("nothing says what kind of message it is")


def _kind(fields: Fields, key: str) -> str:
    kind = clean(fields[key], most=80)
    if not kind:
        raise Unreadable(f"{key} is no text")
    return kind


def _activity(fields: Fields) -> Activity:
    return Activity(
        activity_id=clean(fields.get("ActivityId"), most=64),
        status=clean(fields.get("StatusCode"), most=64),
        message=clean(fields.get("StatusMessage")),
        cause=clean(fields.get("Cause")),
        description=clean(fields.get("Description")),
        zone=_zone(section(fields, "Details").get("Availability Zone")),
    )


def _zone(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[a-z0-9-]{1,40}", value) else ""


def _group(fields: Fields) -> str:
    return require(fields, "AutoScalingGroupName", parse_group_name)


def _instance_id(fields: Fields) -> InstanceId:
    return require(fields, "EC2InstanceId", parse_instance_id)


def _done(make: type[Launched | Terminated]) -> Parse:
    return lambda fields, at: make(instance_id=_instance_id(fields), group=_group(fields), activity=_activity(fields), at=at)


def _failed(make: type[LaunchFailed | TerminateFailed]) -> Parse:
    return lambda fields, at: make(
        instance_id=allow(fields, "EC2InstanceId", parse_instance_id), group=_group(fields), activity=_activity(fields), at=at
    )


def _test(fields: Fields, at: float | None) -> Message:
    return TestNotification(group=allow(fields, "AutoScalingGroupName", parse_group_name) or "", at=at)


_parse_hook_name = parse_match(r"[A-Za-z0-9_/-]{1,255}", "a lifecycle hook's name")
_parse_token = parse_match(r"[A-Za-z0-9-]{1,64}", "a lifecycle action's token")


def _hook(fields: Fields) -> Hook:
    return Hook(
        instance_id=_instance_id(fields),
        group=_group(fields),
        name=require(fields, "LifecycleHookName", _parse_hook_name),
        token=require(fields, "LifecycleActionToken", _parse_token),
        metadata=clean(fields.get("NotificationMetadata")),
        origin=clean(fields.get("Origin"), most=64),
        destination=clean(fields.get("Destination"), most=64),
    )


def _waits(make: type[LaunchWaits | TerminateWaits]) -> Parse:
    def parse(fields: Fields, at: float | None) -> Message:
        hook = _hook(fields)
        if hook.destination == "WarmPool":
            return WarmPoolWaits(hook=hook, returns=make is TerminateWaits, at=at)
        return make(hook=hook, at=at)

    return parse


def _compute_ready(fields: Fields, _: float | None) -> Message:
    return ComputeReady(
        instance_id=_instance_id(fields),
        hostname=require(fields, "LocalHostname", _parse_own_hostname),
        slots=require(fields, "Slots", _parse_slots),
        instance_type=allow(fields, "EC2InstanceType", parse_instance_type) or "",
        status=clean(fields.get("StatusCode"), most=64),
    )


def _parse_own_hostname(value: object) -> Hostname:
    """A name that can tell a node from others: no address, and not what every machine calls itself."""
    hostname = parse_hostname(value)
    try:
        parse_address(value)
    except InvalidValue:
        if hostname != "localhost":
            return hostname
    raise InvalidValue(f"{value!r:.80} does not name a node", value=repr(value)[:80])


def _parse_slots(value: object) -> int:
    """Nodes send them as text; a number is as good."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_SLOTS else value
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= MOST_SLOTS:
        return int(text)
    raise InvalidValue(f"{value!r:.80} is not a number of slots (1 … {MOST_SLOTS})", value=repr(value)[:80])


_parse_action = parse_match(r"[a-z-]{1,32}", "an instance action")
_parse_state = parse_match(r"[a-z-]{1,32}", "an instance state")


def _spot_interruption(fields: Fields, at: float | None) -> Message:
    detail = section(fields, "detail")
    action = require(detail, "instance-action", _parse_action)
    return SpotInterruption(instance_id=require(detail, "instance-id", parse_instance_id), action=action, at=at)


def _rebalance(fields: Fields, at: float | None) -> Message:
    return RebalanceRecommended(instance_id=require(section(fields, "detail"), "instance-id", parse_instance_id), at=at)


def _state_change(fields: Fields, at: float | None) -> Message:
    detail = section(fields, "detail")
    state = require(detail, "state", _parse_state)
    return StateChanged(instance_id=require(detail, "instance-id", parse_instance_id), state=state, at=at)


def _health(fields: Fields, at: float | None) -> Message:
    """Only what is scheduled for EC2 instances concerns us; AWS Health tells of everything else too."""
    detail = section(fields, "detail")
    service, category = clean(detail.get("service"), most=40), clean(detail.get("eventTypeCategory"), most=40)
    kind = f"AWS Health Event: {service} {category}"
    if (service, category) != ("EC2", "scheduledChange"):
        return Unknown(kind=kind)
    instance_ids = _affected(fields, detail)
    if not instance_ids:
        return Unknown(kind=f"{kind} of no instance")
    texts = detail.get("eventDescription")
    first = texts[0] if isinstance(texts, list) and texts and isinstance(texts[0], dict) else {}
    return ScheduledChange(
        instance_ids=instance_ids,
        code=clean(detail.get("eventTypeCode"), most=128),
        description=clean(first.get("latestDescription")),
        starts_at=read_time(detail, "startTime"),
        ends_at=read_time(detail, "endTime"),
        closed=detail.get("statusCode") == "closed",
        at=at,
    )


def _affected(fields: Fields, detail: Fields) -> tuple[InstanceId, ...]:
    """The instances among the entities, each once, in order: by id or by ARN. What is no instance (a volume, …) is left out."""
    entities, resources = detail.get("affectedEntities"), fields.get("resources")
    named = [entity.get("entityValue") for entity in entities if isinstance(entity, dict)] if isinstance(entities, list) else []
    named += resources if isinstance(resources, list) else []
    if len(named) > MOST_ENTITIES:
        raise Unreadable(f"{len(named)} affected entities, more than {MOST_ENTITIES}")
    found: dict[InstanceId, None] = {}
    for name in named:
        try:
            found[parse_instance_id(name.rpartition("/")[2] if isinstance(name, str) else name)] = None
        except InvalidValue:
            continue
    return tuple(found)


def _in_detail(parse: Parse) -> Parse:
    """Auto Scaling's own EventBridge events hold the fields of its notifications in `detail`."""
    return lambda fields, at: parse(section(fields, "detail"), at)


_KINDS: Mapping[str, Parse] = {
    "autoscaling:EC2_INSTANCE_LAUNCH": _done(Launched),
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR": _failed(LaunchFailed),
    "autoscaling:EC2_INSTANCE_TERMINATE": _done(Terminated),
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR": _failed(TerminateFailed),
    "autoscaling:TEST_NOTIFICATION": _test,
    "autoscaling:EC2_INSTANCE_LAUNCHING": _waits(LaunchWaits),
    "autoscaling:EC2_INSTANCE_TERMINATING": _waits(TerminateWaits),
    "parallelcluster:COMPUTE_READY": _compute_ready,
}

_EVENTBRIDGE: Mapping[str, Parse] = {
    "EC2 Instance Launch Successful": _in_detail(_done(Launched)),
    "EC2 Instance Launch Unsuccessful": _in_detail(_failed(LaunchFailed)),
    "EC2 Instance Terminate Successful": _in_detail(_done(Terminated)),
    "EC2 Instance Terminate Unsuccessful": _in_detail(_failed(TerminateFailed)),
    "EC2 Instance-launch Lifecycle Action": _in_detail(_waits(LaunchWaits)),
    "EC2 Instance-terminate Lifecycle Action": _in_detail(_waits(TerminateWaits)),
    "EC2 Spot Instance Interruption Warning": _spot_interruption,
    "EC2 Instance Rebalance Recommendation": _rebalance,
    "EC2 Instance State-change Notification": _state_change,
    "AWS Health Event": _health,
}
