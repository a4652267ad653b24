"""The SQS queue: at least once, unordered, ten messages a call."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.errors import AwsUnavailable
from daemons.ports import MESSAGES_A_RECEIVE, Received

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient

BATCH = MESSAGES_A_RECEIVE
_STALE_RECEIPT = ("ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight")


class SqsQueue:
    """Implements `daemons.ports.Queue`."""

    def __init__(self, clients: Clients, *, queue: str, visibility_s: int | None = None) -> None:
        """`queue` is a name or a URL; a name is resolved once, at the first call. What is received stays ours for `visibility_s`,
        or for as long as the queue says.
        """
        self._clients = clients
        self._queue = queue
        self._url = queue if "://" in queue else ""
        self._visibility: dict[str, int] = {} if visibility_s is None else {"VisibilityTimeout": visibility_s}

    async def receive(self, *, wait_s: int) -> tuple[Received, ...]:
        client, url = await self._open()
        with translated("receiving messages", self._queue):
            answer = await client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                **self._visibility,  # type: ignore[arg-type]  # one more whole number
            )
        return tuple(_received(message) for message in answer.get("Messages", []))

    async def delete(self, messages: Sequence[Received]) -> None:
        client, url = await self._open()

        async def delete_batch(batch: list[Received]) -> list[Any]:
            entries = [{"Id": str(index), "ReceiptHandle": message.receipt} for index, message in enumerate(batch)]
            with translated("deleting messages", self._queue):
                answer = await client.delete_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
            return answer.get("Failed", [])

        self._check(await asyncio.gather(*map(delete_batch, batches(messages, BATCH))), "deleting messages")

    async def postpone(self, messages: Sequence[Received], delay_s: int) -> None:
        client, url = await self._open()

        async def postpone_batch(batch: list[Received]) -> list[Any]:
            entries = [
                {"Id": str(index), "ReceiptHandle": message.receipt, "VisibilityTimeout": delay_s}
                for index, message in enumerate(batch)
            ]
            with translated("changing messages' visibility", self._queue):
                answer = await client.change_message_visibility_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
            return answer.get("Failed", [])

        self._check(await asyncio.gather(*map(postpone_batch, batches(messages, BATCH))), "changing messages' visibility")

    async def send(self, body: str) -> None:
        """Put one message into the queue, at least once: what a compute node does, never the services."""
        client, url = await self._open()
        with translated("sending a message", self._queue):
            await client.send_message(QueueUrl=url, MessageBody=body)

    async def _open(self) -> tuple["SQSClient", str]:
        client: SQSClient = await self._clients.get("sqs")
        if not self._url:
            with translated("looking up the queue", self._queue):
                self._url = (await client.get_queue_url(QueueName=self._queue))["QueueUrl"]
        return client, self._url

    def _check(self, failed: Sequence[Sequence[Any]], doing: str) -> None:
        """A receipt that is no longer good is no failure: that message comes again, and its effect is repeatable."""
        codes = {str(entry.get("Code", "")) for batch in failed for entry in batch}
        if unexpected := {code for code in codes if not code.endswith(_STALE_RECEIPT)}:
            raise AwsUnavailable(f"{doing} ({self._queue}): SQS failed some with {', '.join(sorted(unexpected))}")


def _received(message: Any) -> Received:
    attributes = message.get("Attributes", {})
    sent_ms = str(attributes.get("SentTimestamp", ""))
    return Received(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(sent_ms) / 1000 if sent_ms.isascii() and sent_ms.isdecimal() else None,
    )
