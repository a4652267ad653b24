"""Reasons why EC2 does not launch, with the code it answers and the words Auto Scaling passes on."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["insufficient-capacity", "quota", "spot-price", "configuration"]

_TEXTS: dict[Reason, tuple[str, str]] = {
    "insufficient-capacity": (
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}).",
    ),
    "quota": (
        "VcpuLimitExceeded",
        (
            "You have requested more vCPU capacity than your current vCPU limit of 64 allows for the instance bucket "
            "that the specified instance type belongs to (VcpuLimitExceeded)."
        ),
    ),
    "spot-price": (
        "SpotMaxPriceTooLow",
        "Your Spot request price of 0.001 is lower than the minimum required Spot request fulfillment price of 0.45.",
    ),
    "configuration": ("InvalidAMIID.NotFound", "The image id '[{image}]' does not exist."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One launch that EC2 refused."""

    code: str
    message: str
    instance_type: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A standing refusal; None matches every type, every zone."""

    reason: Reason
    instance_type: str | None = None
    zone: str | None = None

    def refusal(self, instance_type: str, zone: str, *, image_id: str, spot: bool) -> Refusal | None:
        """What a launch of this kind is told; None if this shortage does not touch it."""
        if self.instance_type not in (None, instance_type) or self.zone not in (None, zone):
            return None
        if self.reason == "spot-price" and not spot:
            return None
        code, text = _TEXTS[self.reason]
        message = text.format(type=instance_type, zone=zone, image=image_id) + " Launching EC2 instance failed."
        return Refusal(code=code, message=message, instance_type=instance_type, zone=zone)
