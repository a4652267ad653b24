"""Two heads: who acts, and whether everybody knows that there are two."""

from daemons.doctor.findings import Finding, Severity, judged
from daemons.ha.lease import Lease, Seen

_FRESH_S = 3600.0  # how far two heads' clocks may be apart for a lease still to count as in use


def check_lease(service: str, seen: Seen, *, enabled: bool, now: float) -> Finding:
    """Who holds it. By the clocks of two machines, so nothing is decided by it; a head that knows of no other is the worst."""
    lease = seen.lease if seen.lease is not None and seen.lease.is_held else None
    if not enabled:
        return judged(
            "heads-known",
            service,
            _held_elsewhere(lease) if lease is not None else "there is one head",
            holds=lease is None or now - lease.renewed_at > _FRESH_S,
            remedy="ha.enabled = true here, as on that head, and systemctl restart " + service + "; or stop one of the two",
        )
    if lease is None:
        found, holds = "nobody holds its lease", False
    else:
        ago_s = now - lease.renewed_at
        found, holds = f"{lease.holder} holds its lease, fence {lease.fence}, renewed {ago_s:.0f} s ago", ago_s <= lease.lease_s
    remedy = f"systemctl start {service}, on either head"
    return judged("heads-lease", service, found, holds=holds, otherwise=Severity.WARNING, remedy=remedy)


def _held_elsewhere(lease: Lease) -> str:
    return f"{lease.holder} holds a lease for it, and ha.enabled is false here: this head acts all the same"
