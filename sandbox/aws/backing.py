"""moto behind the sandbox: SQS, SNS, DynamoDB, Route 53, EventBridge and the rest, kept in this process.

moto keeps its state in the process, by account id: two sandboxes at once must have different accounts.
"""

import io
import json
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import moto.core.utils
import moto.sqs.models
from moto.core.base_backend import BackendDict, backend_lock
from moto.events.models import events_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from werkzeug.test import run_wsgi_app

from sandbox.aws.faults import Fate, Faults
from sandbox.aws.listener import Request
from sandbox.aws.notices import ArnMessage, BusEvent, Notice
from sandbox.aws.values import iso
from sandbox.aws.wire import Answer

_HELD_S = 900  # the longest delay SQS knows: a message the faults hold back is out of sight meanwhile


def _unix_time_millis(dt: datetime | None = None) -> float:
    """What moto computes by way of a timedelta for every message it looks at: 30 times slower with deep queues."""
    return time.time() * 1000.0 if dt is None else dt.replace(tzinfo=UTC).timestamp() * 1000.0


class Backing:
    """One account of moto, reset when this is made."""

    def __init__(self, *, region: str, account: str, faults: Faults) -> None:
        for module in (moto.core.utils, moto.sqs.models):
            vars(module)["unix_time_millis"] = _unix_time_millis
        _reset_account(account)
        self._region = region
        self._account = account
        self._faults = faults
        self._app = DomainDispatcherApplication(create_backend_app)
        self._locks: dict[str, threading.Lock] = {}
        backend = sqs_backends[account][region]
        self._sqs: Any = backend
        self._send_now = self._sqs.send_message  # every way into a queue goes through this method: SNS, batches, calls
        vars(backend)["send_message"] = self._send

    def call(self, service: str, request: Request) -> Answer:
        """Have moto answer. All but SQS, whose receives wait, is answered one call at a time: moto checks conditions
        and writes without a lock of its own.
        """
        with self._turn(service):
            body, status, headers = run_wsgi_app(self._app, self._environ(request), buffered=True)
        return Answer(status=int(status.split()[0]), body=b"".join(body), headers=tuple(headers.items()))

    def _turn(self, service: str) -> AbstractContextManager[object]:
        return nullcontext() if service == "sqs" else self._locks.setdefault(service, threading.Lock())

    def _environ(self, request: Request) -> dict[str, Any]:
        url = urlsplit(request.target)
        host, _, port = request.headers.get("host", "localhost:80").partition(":")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(url.path, "latin-1"),
            "QUERY_STRING": url.query,
            "RAW_URI": request.target,
            "REQUEST_URI": request.target,
            "SERVER_NAME": host,
            "SERVER_PORT": port or "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(request.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        environ.pop("HTTP_CONTENT_LENGTH", None)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        return environ

    def publish(self, notice: Notice) -> None:
        """Send what AWS sends by itself. moto's own errors (no such topic, no such queue) come out as they are."""
        if isinstance(notice, BusEvent):
            self._put_event(notice)
        else:
            self._publish_to_arn(notice)

    def _publish_to_arn(self, message: ArnMessage) -> None:
        if ":sqs:" in message.arn:
            self._sqs.send_message(message.arn.rpartition(":")[2], message.body)
        else:
            sns_backends[self._account][self._region].publish(message.body, message.arn, subject=message.subject)

    def _put_event(self, event: BusEvent) -> None:
        """To the queues that rules of the default bus name; moto's own PutEvents refuses sources that begin with `aws.`."""
        fields = {
            "version": "0",
            "id": event.event_id,
            "detail-type": event.detail_type,
            "source": event.source,
            "account": self._account,
            "time": iso(event.at),
            "region": self._region,
            "resources": list(event.resources),
            "detail": event.detail,
        }
        bus: Any = events_backends[self._account][self._region].event_buses["default"]
        rules = [rule for rule in bus.rules.values() if rule.state == "ENABLED"]
        for rule in rules:
            if rule.event_pattern.matches_event(fields):
                for target in rule.targets:
                    self._sqs.send_message(target["Arn"].rpartition(":")[2], json.dumps(fields))

    def _send(self, queue_name: str, message_body: str, *args: Any, **kwargs: Any) -> Any:
        """In place of moto's SendMessage, for all that reaches a queue: as it is, or as the message faults have it."""
        fate = self._faults.draw_fate()
        if fate == Fate():
            return self._send_now(queue_name, message_body, *args, **kwargs)
        if fate.copies == 0 or fate.delay_s:
            kwargs["delay_seconds"] = _HELD_S
        queue = self._sqs.get_queue(queue_name)
        first = self._send_now(queue_name, message_body, *args, **kwargs)
        sent = [first, *(self._send_now(queue_name, message_body, *args, **kwargs) for _ in range(fate.copies - 1))]
        with queue._messages_lock:  # noqa: SLF001 - moto has no other way to lose or move a message
            for message in sent:
                message.id = first.id
                if message in queue._messages and (fate.copies == 0 or fate.place is not None):  # noqa: SLF001
                    queue._messages.remove(message)  # noqa: SLF001
                if fate.copies and fate.place is not None:
                    queue._messages.insert(round(fate.place * len(queue._messages)), message)  # noqa: SLF001
                if fate.delay_s:
                    message.delayed_until = _unix_time_millis() + fate.delay_s * 1000
        return first


def _reset_account(account: str) -> None:
    with backend_lock:
        services: list[dict[str, Any]] = vars(BackendDict)["_instances"]  # moto itself resets all accounts or none
        for service in services:
            if account in service:
                service.pop(account).reset()
