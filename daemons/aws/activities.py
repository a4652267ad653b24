"""Launches that failed, from Auto Scaling's words to values. Pure; whatever the words are, it says something."""

import json
import re
from collections.abc import Mapping
from typing import Any

from daemons.model import FleetName, LaunchFailure

_LONGEST_MESSAGE = 500
_WORDS = 64
_TYPE = re.compile(r"\b([a-z][a-z0-9-]{0,15}\.[a-z0-9-]{2,20})\b(?= capacity)")
_FAILED = frozenset({"Failed", "Cancelled"})


def parse_failed_launch(fleet: FleetName, activity: Mapping[str, Any]) -> LaunchFailure | None:
    """The failed launch that a scaling activity tells of; None if it tells of something else.

    An activity has no field that says what it was: a launch reads "Launching a new EC2 instance", with or without its id.
    Cancelled ones count if they say why: capacity that was cancelled because nobody wants it any more has failed nobody.
    """
    message = str(activity.get("StatusMessage") or "")
    if activity.get("StatusCode") not in _FAILED or not str(activity.get("Description", "")).startswith("Launching"):
        return None
    if activity.get("StatusCode") == "Cancelled" and not message:
        return None
    found = _TYPE.search(message)
    return LaunchFailure(
        fleet=fleet,
        at=activity["StartTime"].timestamp(),
        zone=_zone(activity.get("Details")),
        instance_type=found[1] if found else "",
        message=message[:_LONGEST_MESSAGE],
        activity_id=str(activity["ActivityId"]),
    )


def parse_launch_error(fleet: FleetName, error: Mapping[str, Any], *, at: float = 0.0) -> LaunchFailure:
    """One of the errors that LaunchInstances answers with. It has no time of its own."""
    return LaunchFailure(
        fleet=fleet,
        at=at,
        zone=str(error.get("AvailabilityZone", ""))[:_WORDS],
        instance_type=str(error.get("InstanceType", ""))[:_WORDS],
        error_code=str(error.get("ErrorCode", ""))[:_WORDS],
        message=str(error.get("ErrorMessage", ""))[:_LONGEST_MESSAGE],
    )


def _zone(details: object) -> str:
    """`Details` is JSON in a string: {"Subnet ID":…,"Availability Zone":…}."""
    try:
        parsed = json.loads(details) if isinstance(details, str) else details
    except ValueError:
        return ""
    zone = parsed.get("Availability Zone") if isinstance(parsed, dict) else None
    return zone[:_WORDS] if isinstance(zone, str) else ""
