"""The kinds of value a setting can have. None of them converts: "20" is no number, and a number is no string."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from daemons.credentials import is_credential
from daemons.errors import InvalidValue
from daemons.names import parse_fleet_name, parse_group_name, parse_instance_type, parse_word

URL_LONGEST = 2048


def refused(why: str) -> PydanticCustomError:
    """What a validator raises: `why` goes on from the value, as in "is not a region"."""
    return PydanticCustomError("refused", "{why}", {"why": why})


def _named(parse: Callable[[object], Any]) -> AfterValidator:
    """Validate by one of the parsers of `daemons.names`."""

    def check(value: str) -> Any:
        try:
            return parse(value)
        except InvalidValue as err:
            raise refused(str(err).removeprefix(str(err.facts["value"])).strip()) from err

    return AfterValidator(check)


def _matching(pattern: str, what: str, example: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise refused(f"is not {what} (such as {example})")
        return value

    return AfterValidator(check)


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        has_host, _ = bool(parts.hostname), parts.port
    except ValueError as err:
        raise refused(f"is not a URL: {err}") from err
    if parts.scheme not in ("http", "https") or not has_host or len(value) > URL_LONGEST or re.search(r"[\s\x00-\x1f]", value):
        raise refused("is not a URL (such as https://sqs.eu-west-1.amazonaws.com)")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise refused("must be a plain URL, with no user, password, query or fragment")
    return value


_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,75}(?:[A-Za-z0-9_-]{0,5}|\.fifo)")


def _check_queue(value: str) -> str:
    """SQS's own rule for names; whatever has a scheme must be a URL."""
    if "://" in value:
        return _check_url(value)
    if not _QUEUE.fullmatch(value):
        raise refused("is neither the name of an SQS queue (such as hpc-events) nor its URL")
    return value


def _check_directory(value: str) -> str:
    if not value.startswith("/") or "\x00" in value or len(value) > 1024:
        raise refused("is not an absolute path (such as /var/lib/headnode)")
    return value.rstrip("/") or "/"


def _check_file(value: str) -> str:
    try:
        return _check_directory(value)
    except PydanticCustomError as err:
        raise refused("is neither an absolute path (such as /etc/headnode/mqtt) nor a credential:NAME of systemd's") from err


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MIN = 24 * 60


def parse_days(text: str) -> tuple[int, ...]:
    """The day numbers, Monday 0, ascending, of mon-fri, of sat,sun or of fri-mon. Raises ValueError."""
    days: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days |= {number % 7 for number in range(begin, end + 1 if end >= begin else end + 8)}
    return tuple(sorted(days))


def parse_minute(text: str) -> int:
    """The minutes since midnight of 08:30; 24:00 is the end of the day. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    minute = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else _DAY_MIN + 1
    if minute > _DAY_MIN:
        raise ValueError(f"{text!r} is no time of day")
    return minute


def _readable(parse: Callable[[str], object], what: str, example: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            parse(value)
        except (ValueError, OSError) as err:
            raise refused(f"is not {what} (such as {example})") from err
        return value

    return AfterValidator(check)


def _check_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as err:
        raise refused("is not a time zone that this machine knows (such as Europe/Berlin)") from err
    return value


def _check_zone(value: str) -> str:
    labels = value.removesuffix(".").split(".")
    good = len(value) <= 253 and all(re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label) for label in labels)
    if not good:
        raise refused("is not a DNS zone's name (such as hpc.internal)")
    return value.removesuffix(".").lower()


TOPIC_ARN = r"arn:aws[a-z-]{0,20}:sns:[a-z]{2,5}(?:-[a-z0-9]+){2,4}:[0-9]{12}:[A-Za-z0-9_-]{1,256}"

Text = Annotated[str, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]

Word = Annotated[Text, _named(parse_word)]
FleetWord = Annotated[Text, _named(parse_fleet_name)]
InstanceType = Annotated[Text, _named(parse_instance_type)]
Region = Annotated[Text, _matching(r"[a-z]{2,5}(?:-[a-z0-9]+){2,4}", "an AWS region", "eu-west-1")]
Url = Annotated[Text, AfterValidator(_check_url)]
QueueName = Annotated[Text, AfterValidator(_check_queue)]
TableName = Annotated[Text, _matching(r"[A-Za-z0-9_.-]{3,255}", "a DynamoDB table's name", "hpc-instances")]
MetricNamespace = Annotated[
    Text, _matching(r"(?!AWS/)[A-Za-z0-9_./#:-]{1,255}", "a namespace of metrics that is not AWS's own", "Headnode")
]
TopicArn = Annotated[
    Text,
    _matching(
        TOPIC_ARN,
        "a topic's ARN",
        "arn:aws:sns:eu-west-1:123456789012:hpc-events",
    ),
]
LogGroupName = Annotated[Text, _matching(r"[A-Za-z0-9_./#-]{1,512}", "a log group's name", "/headnode/hpc")]
GroupName = Annotated[Text, _named(parse_group_name)]
ZoneId = Annotated[Text, _matching(r"[A-Z0-9]{1,32}", "a hosted zone's id, without /hostedzone/", "Z0123456789ABCDEFGHIJ")]
ZoneName = Annotated[Text, AfterValidator(_check_zone)]
DirectoryPath = Annotated[Text, AfterValidator(_check_directory)]
MqttWord = Annotated[Text, _matching(r"[A-Za-z0-9_-]{1,64}", "one level of a topic", "headnode")]
HostName = Annotated[Text, _matching(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?", "a host", "broker.hpc.internal")]
HeadName = Annotated[Text, _matching(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,62})?", "a plain word", "head-a")]
OptionalPath = Annotated[Text, AfterValidator(lambda value: value and _check_directory(value))]
SecretFile = Annotated[Text, AfterValidator(lambda value: value if not value or is_credential(value) else _check_file(value))]
Days = Annotated[Text, _readable(parse_days, "days of the week", "mon-fri")]
TimeOfDay = Annotated[Text, _readable(parse_minute, "a time of day", "08:30")]
Timezone = Annotated[Text, AfterValidator(_check_timezone)]
