"""The cluster's queue and the one behind it, for the commands that look into them and move messages."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from daemons.config import Config
from daemons.errors import AwsUnavailable

LOOK_S = 15  # how long a message that was looked at stays hidden from the next look
MOVE_S = 60  # how long one that is being moved stays hidden
EVENTS, DEAD = "events", "dead letters"
DEPTHS = {
    "waiting": "ApproximateNumberOfMessages",
    "in flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
_IN_VAIN = 20  # receives in a row that bring nothing to move: what is left is hidden, refused, or comes back all the time
_BATCH_BYTES, _OVERHEAD_BYTES = 240_000, 1_000  # below SQS's 262,144 bytes a call; what attributes may take
_METRIC_PERIOD_S = 60  # SQS writes its metrics once a minute
_METRIC_BACK = timedelta(minutes=15)
_PATIENCE = BotoConfig(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})


@dataclass(frozen=True, slots=True)
class Moved:
    """How many messages are in the queue again, and what stayed: `came_back` of those, and some that SQS refused, by why."""

    moved: int = 0
    came_back: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)

    def with_more(self, *, moved: int, came_back: int, refused: Sequence[str]) -> "Moved":
        counted = Counter(self.refused) + Counter(refused)
        return Moved(self.moved + moved, self.came_back + came_back, dict(counted))


class ClusterQueue:
    """Raises AwsUnavailable, saying what to look at."""

    def __init__(self, config: Config, *, client: Any = None) -> None:
        """`client` is boto3's, in place of one of its own."""
        self._config = config
        self._sqs = client if client is not None else self._client("sqs")
        self._queue = config.queue
        self._urls: dict[str, str] = {}

    def urls(self) -> dict[str, str]:
        """Where the queue is, and the one for dead letters if there is one."""
        if not self._urls:
            url = self._queue if "://" in self._queue else self._ask("get_queue_url", QueueName=self._queue)["QueueUrl"]
            self._urls = {EVENTS: url}
            attributes = self._ask("get_queue_attributes", QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
            if "RedrivePolicy" in attributes:
                arn = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
                self._urls[DEAD] = self._ask("get_queue_url", QueueName=arn.rpartition(":")[2])["QueueUrl"]
        return self._urls

    def depth(self, url: str) -> dict[str, int]:
        found = self._ask("get_queue_attributes", QueueUrl=url, AttributeNames=list(DEPTHS.values()))["Attributes"]
        return {name: int(found[attribute]) for name, attribute in DEPTHS.items()}

    def oldest_s(self, url: str) -> float | None:
        """How old its oldest message was when SQS last said so, to CloudWatch; None where it has not said so lately.

        To receive messages just to read their age would count as an attempt, and after some of those they are dead letters.
        """
        now = datetime.fromtimestamp(time.time(), UTC)
        answer = self._ask_of(
            self._client("cloudwatch"),
            "get_metric_statistics",
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
            StartTime=now - _METRIC_BACK,
            EndTime=now,
            Period=_METRIC_PERIOD_S,
            Statistics=["Maximum"],
        )
        points = sorted(answer.get("Datapoints", []), key=lambda point: point["Timestamp"])
        return float(points[-1]["Maximum"]) if points else None

    def look(self, url: str, most: int) -> list[dict[str, Any]]:
        """Messages as they are, each once. They are hidden from others for a moment, and back after that."""
        found: dict[str, dict[str, Any]] = {}
        while len(found) < most:
            batch = self.receive(url, min(10, most - len(found)), hidden_s=LOOK_S)
            fresh = {message["MessageId"]: message for message in batch if message["MessageId"] not in found}
            if not fresh:
                break
            found |= fresh
        return list(found.values())

    def receive(self, url: str, most: int, *, hidden_s: int) -> Sequence[dict[str, Any]]:
        answer = self._ask(
            "receive_message",
            QueueUrl=url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=hidden_s,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def move(self, most: int) -> Iterator[Moved]:
        """Move dead letters back into the queue, at most `most` of them; how far that has come, after each batch.

        A message is sent first and deleted then: interrupted in between it is in both queues, and to do it twice does no harm.
        One that has come back meanwhile, because it failed again, is left where it is: the queue for dead letters keeps the id
        that it was given when it was sent. SQS's own StartMessageMoveTask moves all of a queue or nothing, and goes on after the
        command has ended.
        """
        urls, so_far, seen, sent, in_vain = self.urls(), Moved(), set[str](), set[str](), 0
        while so_far.moved < most and in_vain < _IN_VAIN:
            received = self.receive(urls[DEAD], min(10, most - so_far.moved), hidden_s=MOVE_S)
            if not received:
                return
            fresh = [one for one in received if one["MessageId"] not in seen]
            seen |= {message["MessageId"] for message in fresh}
            batch = [one for one in fresh if one["MessageId"] not in sent]
            taken, refused = self._send(urls[EVENTS], batch)
            self._delete(urls[DEAD], [message for message, _ in taken])
            sent |= {new_id for _, new_id in taken}
            so_far = so_far.with_more(moved=len(taken), came_back=len(fresh) - len(batch), refused=refused)
            in_vain = 0 if taken else in_vain + 1
            yield so_far

    def _send(self, url: str, batch: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[Mapping[str, Any], str]], list[str]]:
        """Those that the queue has taken, each with its new id, and why it has not taken the others."""
        taken: list[tuple[Mapping[str, Any], str]] = []
        refused: list[str] = []
        for part in _small_enough(batch):
            entries = [
                {"Id": str(number), "MessageBody": message["Body"], "MessageAttributes": _attributes(message)}
                for number, message in enumerate(part)
            ]
            answer = self._ask("send_message_batch", QueueUrl=url, Entries=entries)
            taken += [(part[int(entry["Id"])], entry["MessageId"]) for entry in answer.get("Successful", [])]
            refused += [str(entry.get("Message") or entry.get("Code")) for entry in answer.get("Failed", [])]
        return taken, refused

    def _delete(self, url: str, batch: Sequence[Mapping[str, Any]]) -> None:
        entries = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(batch)]
        if entries and (failed := self._ask("delete_message_batch", QueueUrl=url, Entries=entries).get("Failed")):
            raise AwsUnavailable(f"{len(failed)} messages are in the queue again and could not be deleted where they were")

    def _client(self, service: str) -> Any:
        endpoints, make = self._config.endpoints, boto3.client
        endpoint = endpoints.get(service, endpoints.get("default"))
        try:
            return make(service, region_name=self._config.region, endpoint_url=endpoint, config=_PATIENCE)  # type: ignore[call-overload]  # a plain name
        except BotoCoreError as err:
            raise AwsUnavailable(f"opening a client ({service}): {err}", hint="check AWS_PROFILE and credentials") from err

    def _ask(self, operation: str, **request: Any) -> Any:
        return self._ask_of(self._sqs, operation, **request)

    def _ask_of(self, client: Any, operation: str, **request: Any) -> Any:
        try:
            return getattr(client, operation)(**request)
        except (BotoCoreError, ClientError) as err:
            raise AwsUnavailable(f"{operation} ({self._queue}): {err}", hint="check queue, region and credentials") from err


def _small_enough(batch: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The messages in parts that one call may carry."""
    part: list[Mapping[str, Any]] = []
    size = 0
    for message in batch:
        own = len(message["Body"].encode()) + _OVERHEAD_BYTES
        if part and size + own > _BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += own
    if part:
        yield part


def _attributes(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message's own attributes as they are sent: without the parts that only answers have."""
    kept = ("DataType", "StringValue", "BinaryValue")
    given = message.get("MessageAttributes") or {}
    return {name: {part: value[part] for part in kept if part in value} for name, value in given.items()}
