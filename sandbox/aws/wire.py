"""AWS's query and ec2 protocols, both ways, by botocore's own service models and moto's reader and writer of them."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from botocore.model import OperationNotFoundError
from botocore.validate import ParamValidator
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import EC2QueryParser, QueryParser, RequestDict
from moto.core.serialize import EC2Serializer, QuerySerializer, SerializationContext
from werkzeug.datastructures import MultiDict

from sandbox.aws.errors import AwsError

Fields = dict[str, Any]
_JSON_SERVICES = frozenset({"dynamodb", "events", "kms", "logs", "secretsmanager", "sqs", "ssm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/xml"),)


@cache
def service_model(service: str) -> ServiceModel:
    """Botocore's model of a service. Raises UnknownServiceError."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def operation_model(service: str, action: str) -> OperationModel:
    """Raises AwsError InvalidAction for what the service's model does not list."""
    try:
        model: OperationModel = service_model(service).operation_model(action)
    except (OperationNotFoundError, UnknownServiceError) as err:
        raise invalid_action(service, action) from err
    return model


def invalid_action(service: str, action: str) -> AwsError:
    """The service does not know, or the sandbox does not emulate, this action."""
    version = service_model(service).api_version
    return AwsError("InvalidAction", f"The action {action} is not valid for this web service (version {version}).")


def parse_call(service: str, action: str, form: MultiDict[str, str]) -> Fields:
    """The parameters of a call, in the types and under the names of its input shape. Raises AwsError if they are not."""
    model = operation_model(service, action)
    if model.input_shape is None:
        return {}
    reader = EC2QueryParser if service == "ec2" else QueryParser
    code = "InvalidParameterValue" if service == "ec2" else "ValidationError"
    try:
        fields: Fields = reader(model).parse(cast("RequestDict", {"values": form}))
    except ValueError as err:
        raise AwsError(code, f"1 validation error detected: {err}") from err
    report = ParamValidator().validate(fields, model.input_shape)
    if report.has_errors():
        raise AwsError(code, f"1 validation error detected: {report.generate_report()}")
    return fields


def render_result(service: str, action: str, result: Fields, *, request_id: str) -> Answer:
    """A successful answer: what `result` holds under the names of the output shape."""
    writer = EC2Serializer if service == "ec2" else QuerySerializer
    context = SerializationContext(request_id)
    answer = writer(operation_model(service, action), context=context).serialize(result)
    return Answer(status=200, body=str(answer["body"]).encode())


def render_error(service: str, error: AwsError, *, request_id: str) -> Answer:
    """An error in the words of the service's protocol."""
    code, message = escape(error.code), escape(error.message)
    if service in _JSON_SERVICES:
        return _render_json_error(service, error, request_id)
    if service == "ec2":
        inner = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        body = f"<Response>{inner}<RequestID>{request_id}</RequestID></Response>"
    else:
        fault = "Receiver" if error.status >= 500 else "Sender"
        inner = f"<Error><Type>{fault}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"<ErrorResponse>{inner}<RequestId>{request_id}</RequestId></ErrorResponse>"
    return Answer(status=error.status, body=f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode())


def _render_json_error(service: str, error: AwsError, request_id: str) -> Answer:
    headers = [("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-RequestId", request_id)]
    headers.append(("x-amzn-ErrorType", error.code))
    if service == "sqs":
        fault = "Receiver" if error.status >= 500 else "Sender"
        headers.append(("x-amzn-query-error", f"{error.code};{fault}"))
    body = json.dumps({"__type": error.code, "message": error.message})
    return Answer(status=error.status, body=body.encode(), headers=tuple(headers))
