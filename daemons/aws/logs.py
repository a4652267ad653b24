"""One stream of CloudWatch Logs. Opened only where it is configured: this client takes some memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from daemons.aws.session import Clients, error_code, translated
from daemons.cloudwatch import Line
from daemons.errors import AwsRefused, AwsUnavailable

_INVALID = "InvalidParameterException"
_ABSENT, _THERE = "ResourceNotFoundException", "ResourceAlreadyExistsException"


class LogStream:
    """Implements `daemons.cloudwatch.LogStore`."""

    def __init__(self, clients: Clients, *, group: str, stream: str, retention_days: int) -> None:
        """`retention_days` is for a group that has to be made, one that is there keeps its own; 0: for ever."""
        self._clients = clients
        self._group = group
        self._stream = stream
        self._retention_days = retention_days
        self._owes_retention = False

    async def put(self, lines: Sequence[Line]) -> int:
        """A group or a stream that there is not is made, and the lines are put once more. A line that AWS finds invalid is looked
        for and counted as refused: it must not hold up the others for ever.
        """
        try:
            return await self._put(lines)
        except AwsRefused as err:
            if err.error_code != _INVALID:
                raise
        if len(lines) == 1:
            return 1
        half = len(lines) // 2
        return await self.put(lines[:half]) + await self.put(lines[half:])

    async def _put(self, lines: Sequence[Line]) -> int:
        client = await self._clients.get("logs")
        rejected = await self._try(client, lines)
        if rejected is None:
            await self._make(client)
            rejected = await self._try(client, lines)
        if rejected is None:
            raise AwsUnavailable(
                f"writing log lines ({self._group}): its stream was made and is not there yet", target=self._group
            )
        return rejected

    async def _try(self, client: Any, lines: Sequence[Line]) -> int | None:
        """How many were rejected; None where group or stream is missing."""
        events = [{"timestamp": line.at_ms, "message": line.text} for line in lines]
        with translated("writing log lines", self._group):
            try:
                answer = await client.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=events)
            except ClientError as err:
                if error_code(err) == _ABSENT:
                    return None
                raise
        return count_rejected(answer.get("rejectedLogEventsInfo") or {}, len(events))

    async def _make(self, client: Any) -> None:
        """Repeatable, also after it has failed in the middle."""
        with translated("making the log group", self._group):
            if await _made(client.create_log_group(logGroupName=self._group)):
                self._owes_retention = bool(self._retention_days)
            if self._owes_retention:
                await client.put_retention_policy(logGroupName=self._group, retentionInDays=self._retention_days)
                self._owes_retention = False
        with translated("making the log stream", f"{self._group}:{self._stream}"):
            await _made(client.create_log_stream(logGroupName=self._group, logStreamName=self._stream))


async def _made(call: Any) -> bool:
    """False if it was there before."""
    try:
        await call
    except ClientError as err:
        if error_code(err) != _THERE:
            raise
        return False
    return True


def count_rejected(info: Mapping[str, int], count: int) -> int:
    """Of so many lines in the order of time: those before the one index were too old, those from the other on too new."""
    too_old = max(info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0))
    return too_old + count - info.get("tooNewLogEventStartIndex", count)
