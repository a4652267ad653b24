"""`headnode queue`: what is in the cluster's queue, and what has been put aside."""

import json
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from daemons.cli.common import ConfigOption, JsonOption, print_rows, read_config
from daemons.config import Config
from daemons.errors import AwsUnavailable
from sqswatcher.messages import Malformed
from sqswatcher.parse import parse_message

app = typer.Typer(name="queue", help="Look into the cluster's queue.", no_args_is_help=True)

LOOK_S = 15  # how long a message that was looked at stays hidden from the next look
EXCERPT = 200
_DEPTHS = {
    "waiting": "ApproximateNumberOfMessages",
    "in flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@app.command()
def depth(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """How many messages wait, are in work, and have been put aside."""
    found = _Queue(read_config(config))
    rows = [{"queue": name, **found.depth(url)} for name, url in found.urls().items()]
    print_rows(rows, ["queue", *_DEPTHS], as_json=as_json)


@app.command()
def quarantine(
    config: ConfigOption = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Look at no more messages than that.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the messages that were put aside, with the reason: they stay where they are."""
    found = _Queue(read_config(config))
    url = found.urls().get("dead letters")
    if url is None:
        typer.echo("the queue has no dead-letter queue: malformed messages stay in it until their retention ends", err=True)
        raise typer.Exit(1)
    rows = [_describe(message) for message in found.look(url, most)]
    if rows or as_json:
        print_rows(rows, ["message", "received", "reason", "body"], as_json=as_json)
    else:
        typer.echo("nothing has been put aside")


def _describe(message: dict[str, Any]) -> dict[str, Any]:
    body = str(message["Body"])
    parsed = parse_message(body)
    reason = parsed.reason if isinstance(parsed, Malformed) else f"{type(parsed).__name__}: well formed, and never done"
    received = message.get("Attributes", {}).get("ApproximateReceiveCount", "?")
    return {"message": message["MessageId"], "received": received, "reason": reason, "body": ascii(body)[1:-1][:EXCERPT]}


class _Queue:
    """The cluster's queue and the one behind it. Raises AwsUnavailable, saying what to look at."""

    def __init__(self, config: Config) -> None:
        endpoint = config.endpoints.get("sqs", config.endpoints.get("default"))
        self._sqs: Any = boto3.client("sqs", region_name=config.region, endpoint_url=endpoint)
        self._queue = config.queue

    def urls(self) -> dict[str, str]:
        url = self._queue if "://" in self._queue else self._ask("get_queue_url", QueueName=self._queue)["QueueUrl"]
        attributes = self._ask("get_queue_attributes", QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
        if "RedrivePolicy" not in attributes:
            return {"events": url}
        arn = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
        return {"events": url, "dead letters": self._ask("get_queue_url", QueueName=arn.rpartition(":")[2])["QueueUrl"]}

    def depth(self, url: str) -> dict[str, int]:
        found = self._ask("get_queue_attributes", QueueUrl=url, AttributeNames=list(_DEPTHS.values()))["Attributes"]
        return {name: int(found[attribute]) for name, attribute in _DEPTHS.items()}

    def look(self, url: str, most: int) -> list[dict[str, Any]]:
        """Messages as they are, each once. They are hidden from others for a moment, and back after that."""
        found: dict[str, dict[str, Any]] = {}
        while len(found) < most:
            answer = self._ask(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=min(10, most - len(found)),
                VisibilityTimeout=LOOK_S,
                WaitTimeSeconds=1,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            fresh = {message["MessageId"]: message for message in answer.get("Messages", []) if message["MessageId"] not in found}
            if not fresh:
                break
            found |= fresh
        return list(found.values())

    def _ask(self, operation: str, **request: Any) -> Any:
        try:
            return getattr(self._sqs, operation)(**request)
        except (BotoCoreError, ClientError) as err:
            raise AwsUnavailable(f"{operation} ({self._queue}): {err}", hint="check queue, region and credentials") from err
