"""Every request from outside comes through here: counted, made to suffer, and handed to who answers it."""

import logging
import re
import threading
import uuid
from functools import cache
from urllib.parse import parse_qsl, urlsplit

from botocore.exceptions import UnknownServiceError
from werkzeug.datastructures import MultiDict

from sandbox.aws.backing import Backing
from sandbox.aws.ec2 import Ec2Actions
from sandbox.aws.errors import AwsError
from sandbox.aws.faults import Faults, Rule
from sandbox.aws.groups import GroupActions
from sandbox.aws.hooks import HookActions
from sandbox.aws.imds import PREFIX, Imds
from sandbox.aws.ledger import Ledger
from sandbox.aws.listener import ConnectionCut, Request
from sandbox.aws.members import MemberActions
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import Fields, Handler
from sandbox.aws.wire import Answer, invalid_action, parse_call, render_error, render_result, service_model

_log = logging.getLogger(__name__)
_CREDENTIAL = re.compile(r"Credential=[^/,\s]+/\d{8}/[^/]*/([^/]+)/aws4_request")
_LABEL = re.compile(r"\{[^}]+\}")


class Front:
    """Answers requests. `closing` ends slow answers early."""

    def __init__(self, scaling: Scaling, backing: Backing, faults: Faults, ledger: Ledger, closing: threading.Event) -> None:
        self._scaling = scaling
        self._backing = backing
        self._faults = faults
        self._ledger = ledger
        self._closing = closing
        self._imds = Imds(scaling)
        self._handlers: dict[str, dict[str, Handler]] = {
            "autoscaling": {
                **GroupActions(scaling).handlers(),
                **MemberActions(scaling).handlers(),
                **HookActions(scaling).handlers(),
            },
            "ec2": Ec2Actions(scaling).handlers(),
        }

    def answer(self, request: Request) -> Answer:
        """Raises ConnectionCut where the faults have it so."""
        path = urlsplit(request.target).path
        service = "imds" if path.startswith(PREFIX) else _service(request)
        operation = "Get" if service == "imds" else _operation(service, request)
        self._ledger.note(request.headers.get("user-agent", ""), service, operation)
        struck = self._faults.strike(service, operation)
        refusal = self._suffer(service, struck)
        answer = refusal or self._answer(service, operation, request, path)
        if any(rule.kind == "drop-after" for rule in struck):
            raise ConnectionCut
        return answer

    def _suffer(self, service: str, struck: tuple[Rule, ...]) -> Answer | None:
        for rule in struck:
            if rule.kind == "slow":
                self._closing.wait(rule.delay_s)
            if rule.kind == "drop-before":
                raise ConnectionCut
            if rule.error is not None:
                return render_error(service, rule.error, request_id=str(uuid.uuid4()))
        return None

    def _answer(self, service: str, operation: str, request: Request, path: str) -> Answer:
        if service == "imds":
            return self._imds.answer(request.method, path, request.headers)
        if service == "unsigned":
            error = AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
            return render_error(service, error, request_id=str(uuid.uuid4()))
        if service in self._handlers:
            return self._act(service, operation, request)
        return self._backing.call(service, request)

    def _act(self, service: str, action: str, request: Request) -> Answer:
        request_id = str(uuid.uuid4())
        try:
            result = self._run(service, action, request)
        except AwsError as err:
            return render_error(service, err, request_id=request_id)
        return render_result(service, action, result, request_id=request_id)

    def _run(self, service: str, action: str, request: Request) -> Fields:
        if action not in self._handlers[service]:
            raise invalid_action(service, action)
        params = parse_call(service, action, _form(request))
        if params.get("DryRun"):
            raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412)
        with self._scaling.lock:
            return self._handlers[service][action](params)


def _service(request: Request) -> str:
    match = _CREDENTIAL.search(request.headers.get("authorization", ""))
    return match[1].lower() if match else "unsigned"


def _form(request: Request) -> MultiDict[str, str]:
    text = request.body.decode("utf-8", "replace") or urlsplit(request.target).query
    return MultiDict(parse_qsl(text, keep_blank_values=True))


def _operation(service: str, request: Request) -> str:
    """The API's name for the call, "Unknown" where it cannot be told."""
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return _form(request).get("Action", "Unknown")
    path = urlsplit(request.target).path
    for method, pattern, name in _rest_operations(service):
        if method == request.method and pattern.fullmatch(path):
            return name
    return _form(request).get("Action", "Unknown")


@cache
def _rest_operations(service: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """Method, path and name of every operation of a REST service, those with the most fixed path first."""
    try:
        model = service_model(service)
    except UnknownServiceError:
        return ()
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http["requestUri"].partition("?")[0].rstrip("/")
        parts = [re.escape(part) for part in _LABEL.split(path)]
        found.append((http["method"], re.compile("[^/]+".join(parts) + "/?"), str(name)))
    return tuple(sorted(found, key=lambda each: each[1].pattern.count("[^/]+")))
