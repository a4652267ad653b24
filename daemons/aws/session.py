"""One aiobotocore session a process, its clients opened once; AWS's errors become ours here and nowhere else."""

import contextlib
import functools
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.loaders import JSONFileLoader
from botocore.parsers import ResponseParserError

from daemons.errors import AwsRefused, AwsUnavailable
from daemons.ha.look import last_look
from daemons.stopping import unless_stopped

READ_TIMEOUT_S = 30  # above SQS's longest poll of 20 s
CONNECT_TIMEOUT_S = 5
ATTEMPTS = 5  # the units' TimeoutStopSec is longer than all of them
# What begins so changes nothing. ReceiveMessage does: it takes messages out of sight.
_READS = ("Describe", "Get", "List", "BatchGet", "Scan", "Query")
THROTTLES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "PriorRequestNotComplete",
        "SlowDown",
        "TransactionInProgressException",
        "TransactionConflictException",
        "TransactionCanceledException",  # where a condition failed, the table's adapter has already seen to it
        "ScalingActivityInProgress",
        "ResourceContention",
    }
)


@functools.cache
def _the_session() -> AioSession:
    """One session a process: it keeps the service models, which are read and parsed once."""
    session = get_session()
    session.get_component("data_loader").file_loader = _WithoutWords()
    session.register("creating-client-class", _cut_reads_short)
    return session


def _cut_reads_short(base_classes: list[type], **_: object) -> None:
    base_classes.insert(0, _ReadsCutShort)


class _ReadsCutShort:
    """A client whose reads, with all their attempts and the waits between these, are given up soon after the service's stop."""

    async def _make_api_call(self, operation_name: str, api_params: Mapping[str, Any]) -> Any:
        call: Any = super()._make_api_call(operation_name, api_params)  # type: ignore[misc]  # botocore puts its client behind it
        if not operation_name.startswith(_READS):
            return await call
        async with unless_stopped():
            return await call


class _WithoutWords(JSONFileLoader):
    """Reads AWS's service models without their documentation, which no service asks for: half of what EC2's model takes."""

    def load_file(self, file_path: str) -> Any:
        for path, opened in ((Path(f"{file_path}.json"), Path.open), (Path(f"{file_path}.json.gz"), gzip.open)):
            if path.is_file():
                with opened(path, "rb") as file:
                    return json.loads(file.read(), object_pairs_hook=_without_words)
        return None


def _without_words(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A member that is named so has a shape, and stays."""
    return {name: value for name, value in pairs if name != "documentation" or not isinstance(value, str)}


class Clients:
    """AWS clients of one process: each is opened at its first use and closed together with the rest."""

    def __init__(self, *, region: str, endpoints: Mapping[str, str]) -> None:
        """`endpoints` overrides the address of a service by its name; "default" stands for all others."""
        self._region = region
        self._endpoints = endpoints
        with translated("reading AWS's settings", region):  # the profile may be one that nobody has
            self._session = _the_session()
        self._stack = contextlib.AsyncExitStack()
        self._open: dict[str, Any] = {}

    async def get(self, service: str) -> Any:
        """The client of a service."""
        return await self._opened(service, service, attempts=ATTEMPTS)

    async def once(self, service: str) -> Any:
        """A client whose calls are made once: for what a repetition would do a second time."""
        return await self._opened(f"{service}, once", service, attempts=1)

    async def _opened(self, name: str, service: str, *, attempts: int) -> Any:
        if name not in self._open:
            config = AioConfig(
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                user_agent_extra="headnode",
            )
            endpoint = self._endpoints.get(service, self._endpoints.get("default"))
            with translated("opening a client", service):
                client: Any = self._session.create_client(  # type: ignore[call-overload]  # the name is a plain string
                    service, region_name=self._region, endpoint_url=endpoint, config=config
                )
                self._open[name] = await self._stack.enter_async_context(client)
            self._open[name].meta.events.register("before-send", _look)
        return self._open[name]

    async def warm_up(self, *services: str) -> None:
        """Open these clients now: the first use of one takes long, EC2's above all, and must not be while a node waits."""
        for service in services:
            await self.get(service)

    async def close(self) -> None:
        await self._stack.aclose()
        self._open.clear()


def _look(**_: object) -> None:
    """Signed and about to be sent: the last moment at which not to."""
    last_look()


@contextlib.asynccontextmanager
async def open_clients(*, region: str, endpoints: Mapping[str, str]) -> AsyncIterator[Clients]:
    clients = Clients(region=region, endpoints=endpoints)
    try:
        yield clients
    finally:
        await clients.close()


def error_code(err: ClientError) -> str:
    return str(err.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def translated(doing: str, target: str) -> Iterator[None]:
    """Raise AwsUnavailable or AwsRefused, saying what was being done to what, instead of botocore's errors."""
    try:
        yield
    except ClientError as err:
        status = int(err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = error_code(err)
        if code in THROTTLES or status >= 500:
            raise AwsUnavailable(f"{doing} ({target}): AWS answered {code or status}", target=target, error_code=code) from err
        message = str(err.response.get("Error", {}).get("Message", ""))
        raise AwsRefused(
            f"{doing} ({target}): AWS refused with {code}: {message}", error_code=code, target=target, hint=_hint(code, target)
        ) from err
    except (NoCredentialsError, CredentialRetrievalError) as err:
        raise AwsUnavailable(
            f"{doing} ({target}): no AWS credentials: {err}", hint="give the head node an instance profile", target=target
        ) from err
    except NoRegionError as err:
        raise AwsRefused(f"{doing} ({target}): {err}", error_code="NoRegion", hint="set region", target=target) from err
    except (HTTPClientError, ResponseParserError, BotoCoreError, OSError, TimeoutError) as err:
        raise AwsUnavailable(f"{doing} ({target}): no usable answer: {err}", target=target) from err


def _hint(code: str, target: str) -> str:
    if "AccessDenied" in code or "Unauthorized" in code:
        return f"allow the head node's role this action on {target}"
    if "NotFound" in code or "NonExistent" in code or "NoSuch" in code:
        return f"create {target}, or correct its name in the configuration"
    return ""
