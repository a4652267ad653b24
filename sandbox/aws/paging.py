"""Long answers in pages, with tokens that belong to one operation."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

from sandbox.aws.errors import AwsError, validation_error

T = TypeVar("T")


def page(
    items: Sequence[T], *, operation: str, token: str | None, limit: int, error_code: str = "InvalidNextToken"
) -> tuple[Sequence[T], str | None]:
    """The page a token stands for and the next page's token. Raises AwsError for a token of another operation."""
    start = _parse_token(operation, token, error_code) if token else 0
    end = start + limit
    following = base64.b64encode(f"{operation}:{end}".encode()).decode() if end < len(items) else None
    return items[start:end], following


def _parse_token(operation: str, token: str, error_code: str) -> int:
    try:
        name, _, start = base64.b64decode(token, validate=True).decode().partition(":")
        if name == operation:
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise AwsError(error_code, "The token is invalid." if "." in error_code else "The NextToken is not valid.")


def limit(params: dict[str, Any], *, default: int, most: int) -> int:
    """MaxRecords within its bounds. Raises AwsError outside them."""
    wanted: int = params.get("MaxRecords", default)
    if not 1 <= wanted <= most:
        raise validation_error(
            f"1 validation error detected: Value '{wanted}' at 'maxRecords' failed to satisfy constraint: "
            f"Member must have value less than or equal to {most}"
        )
    return wanted
