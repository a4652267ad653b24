"""What a test needs and this machine may lack."""

import os

import pytest


def skip_or_fail(reason: str) -> None:
    """Skip with the reason; where everything is supposed to be installed (CI=true), fail with it."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"this must run in CI: {reason}")
    pytest.skip(reason)
