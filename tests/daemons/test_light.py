"""What a service must not load, though it is installed beside it."""

import subprocess
import sys

import pytest

SERVICES = ["sqswatcher", "jobwatcher", "nodewatcher", "nodewatcher.agent"]


def loaded(statements: str) -> set[str]:
    program = f"{statements}; import sys; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in answer.stdout.split()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_loads_nothing_that_is_for_terminals_or_tests(service: str) -> None:
    assert not loaded(f"import {service}.__main__") & {"rich", "pygments", "typer", "click", "moto", "boto3", "pytest", "sandbox"}


def test_what_checks_signatures_is_loaded_where_it_is_turned_on_alone() -> None:
    assert "cryptography" not in loaded("import sqswatcher.__main__")


def test_the_agent_loads_nothing_of_aws_either() -> None:
    assert not loaded("import nodewatcher.agent.__main__") & {"aiobotocore", "botocore", "aiohttp", "pydantic"}


def test_the_command_line_has_rich_all_the_same() -> None:
    assert "rich" in loaded("import daemons.cli; import rich")
