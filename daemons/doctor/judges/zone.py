"""The hosted zone, and whether this machine looks names up in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFacts:
    id: str
    name: str  # without the last dot
    private: bool
    vpc_regions: tuple[str, ...]


def check_zone(zone: ZoneFacts, *, region: str, search: Sequence[str]) -> Iterator[Finding]:
    """Everything about the zone. `search` are the domains that this machine's resolver adds to bare names."""
    yield Finding(id="zone-exists", severity=Severity.OK, looked_at=zone.id, found=zone.name)
    yield check_privacy(zone)
    if zone.private:
        yield check_region(zone, region)
    yield check_search(zone, search)


def check_privacy(zone: ZoneFacts) -> Finding:
    return judged(
        "zone-private",
        zone.name,
        "it is private" if zone.private else "it is public: the nodes' addresses are told to everybody",
        holds=zone.private,
        otherwise=Severity.WARNING,
        remedy="make a private zone for the cluster's VPC and set dns.zone_id to it: aws route53 create-hosted-zone --vpc …",
    )


def check_region(zone: ZoneFacts, region: str) -> Finding:
    where = ", ".join(zone.vpc_regions) or "no VPC"
    return judged(
        "zone-vpc",
        zone.name,
        f"it is known in {where}",
        holds=region in zone.vpc_regions,
        remedy=f"aws route53 associate-vpc-with-hosted-zone --hosted-zone-id {zone.id} --vpc VPCRegion={region},VPCId=…",
    )


def check_search(zone: ZoneFacts, search: Sequence[str]) -> Finding:
    """Schedulers call nodes by their bare names."""
    known = [domain.rstrip(".").lower() for domain in search]
    return judged(
        "zone-search",
        "the resolver's search domains",
        f"bare names are looked up in {', '.join(known) or 'no domain'}",
        holds=zone.name.lower() in known,
        otherwise=Severity.WARNING,
        remedy=f"add {zone.name} to `search` in /etc/resolv.conf here, or make it the VPC's domain-name in its DHCP options",
    )


def parse_search(text: str) -> tuple[str, ...]:
    """The domains of resolv.conf's last `search` or `domain` line (resolv.conf(5))."""
    found: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("search", "domain"):
            found = tuple(words[1:])
    return found
