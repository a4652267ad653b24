"""What kind of failure a launch met: a table of AWS's codes and words. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from daemons.model import LaunchFailure


class FailureKind(StrEnum):
    CAPACITY = "insufficient-capacity"  # AWS has none there now: another zone, type or hour may have
    QUOTA = "quota"  # the account may have no more: somebody has to ask AWS for more, or something has to end
    PRICE = "price"  # the Spot price is above what the launch template allows
    CONFIGURATION = "configuration"  # it can never work as it is: somebody has to mend it
    OTHER = "other"


# Error codes of EC2's RunInstances, which LaunchInstances passes on and scaling activities name in their text; then words of
# the texts themselves, lower-case. The first that is found decides.
_SIGNS: Sequence[tuple[FailureKind, Sequence[str]]] = (
    (
        FailureKind.QUOTA,
        (
            "vcpulimitexceeded",
            "instancelimitexceeded",
            "maxspotinstancecountexceeded",
            "spotinstancecountexceeded",
            "volumelimitexceeded",
            "maxscheduledinstancecapacityexceeded",
            "vcpu limit",
            "instance limit",
            "quota",
        ),
    ),
    (
        FailureKind.PRICE,
        ("spotmaxpricetoolow", "your spot request price", "spot price", "max spot instance price"),
    ),
    (
        FailureKind.CAPACITY,
        (
            "insufficientinstancecapacity",
            "insufficienthostcapacity",
            "insufficientreservedinstancecapacity",
            "insufficientcapacity",
            "insufficientfreeaddressesinsubnet",
            "reservationcapacityexceeded",
            "unfulfillablecapacity",
            "capacity-not-available",
            "do not have sufficient",
            "insufficient capacity",
            "no spot capacity available",
            "could not launch spot instances",
        ),
    ),
    (
        FailureKind.CONFIGURATION,
        (
            "invalid",
            "malformed",
            "notfound",
            "not found",
            "does not exist",
            "unauthorizedoperation",
            "not authorized",
            "accessdenied",
            "access denied",
            "authfailure",
            "optinrequired",
            "missingparameter",
            "unsupported",
            "not supported",
            "incompatible",
            "validationerror",
            "client.internalerror",  # mostly a volume key that the role may not use
            "clienterror",
            "blocked",
            "pendingverification",
        ),
    ),
)


def classify(failure: LaunchFailure) -> FailureKind:
    """The kind of a failure, by its code if it has one that is known, else by its text. What is not known is OTHER."""
    for words in (failure.error_code.lower(), failure.message.lower()):
        for kind, signs in _SIGNS:
            if words and any(sign in words for sign in signs):
                return kind
    return FailureKind.OTHER
