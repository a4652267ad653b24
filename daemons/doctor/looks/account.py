"""Who we are to AWS, and what time it has."""

from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.session
from botocore.exceptions import ClientError

from daemons.aws.session import translated
from daemons.doctor.findings import Finding, judged
from daemons.doctor.judges import account
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused, AwsUnavailable, HeadnodeError, InvalidValue


async def fetch_caller(scene: Scene) -> account.Caller:
    """One call that nobody can be forbidden. AWS's time is its answer's Date, taken for the middle of the call."""
    client = await scene.clients.get("sts")
    asked_at = scene.clock()
    with translated("asking AWS who we are", "sts"):
        answer = await client.get_caller_identity()
    here = (asked_at + scene.clock()) / 2
    return account.Caller(account=answer["Account"], arn=answer["Arn"], ahead_s=here - read_date(answer))


def read_date(answer: Mapping[str, Any]) -> float:
    """The answer's Date, in the middle of its second. Raises InvalidValue."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5
    except (TypeError, ValueError) as err:
        raise InvalidValue(f"AWS's answer has no date that can be read: {date!r:.80}") from err


async def look_at_caller(scene: Scene) -> Sequence[Finding]:
    try:
        caller: account.Caller = await scene.once("caller", fetch_caller)
    except (AwsRefused, AwsUnavailable) as err:
        remedy = (
            err.hint or "give the head node an instance profile, or correct its credentials; try `aws sts get-caller-identity`"
        )
        refused = judged("aws-credentials", "sts GetCallerIdentity", str(err), holds=False, remedy=remedy)
        return [refused, *_clock_by(err, now=scene.clock())]
    return [
        account.check_credentials(caller),
        account.check_account(caller, scene.config.queue),
        account.check_clock(caller.ahead_s),
    ]


def _clock_by(err: HeadnodeError, *, now: float) -> Sequence[Finding]:
    """A clock that is far off makes AWS refuse everything; even then its answer has a date."""
    if not isinstance(err.__cause__, ClientError):
        return ()
    try:
        return [account.check_clock(now - read_date(err.__cause__.response))]
    except InvalidValue:
        return ()


async def look_at_addresses(scene: Scene) -> Sequence[Finding]:
    """Asks nobody."""
    session, region = botocore.session.Session(), scene.config.region
    with translated("reading AWS's list of regions", region):
        partitions = session.get_available_partitions()
        known = [name for partition in partitions for name in session.get_available_regions("sqs", partition)]
    return [account.check_region(region, known), *account.check_endpoints(region, scene.config.endpoints)]
