"""AWS's service models as the services load them: all of what a call needs, and none of the prose."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from daemons.aws.session import _the_session, _without_words


def paths(model: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in model.items():
        yield (*at, name)
        if isinstance(value, dict):
            yield from paths(value, (*at, name))


@pytest.mark.parametrize("service", ["sqs", "dynamodb", "autoscaling", "ec2", "route53", "logs"])
def test_a_model_lacks_its_documentation_and_nothing_else(service: str) -> None:
    whole = botocore.session.get_session().get_component("data_loader").load_service_model(service, "service-2")
    ours = _the_session().get_component("data_loader").load_service_model(service, "service-2")
    missing = set(paths(whole)) - set(paths(ours))
    assert missing
    assert {path[-1] for path in missing} == {"documentation"}
    assert set(paths(ours)) <= set(paths(whole))


def test_a_member_that_is_named_so_stays() -> None:
    assert _without_words([("documentation", "<p>prose</p>"), ("shape", "String")]) == {"shape": "String"}
    assert _without_words([("documentation", {"shape": "String"})]) == {"documentation": {"shape": "String"}}
