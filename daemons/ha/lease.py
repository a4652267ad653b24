"""What a lease is, and the number that fences its former holders off. Pure."""

from dataclasses import dataclass

STANDS_BY = "standby: "  # begins the status of a service whose lease the other head has
SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
_LEASE, _FENCE = "lease:", "fence:"  # no instance id begins like that


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may act for one service. `token` is one process's, and its `beat` grows with every write of it.

    `since` and `renewed_at` are by the holder's clock, for people: nothing is ever decided by them.
    """

    service: str
    holder: str  # the head's name; "" once it has been given back
    token: str
    fence: int  # grows with every change of holder
    beat: int
    lease_s: float  # for so long after each write the holder may rely on it, less its margin
    since: float
    renewed_at: float

    @property
    def is_held(self) -> bool:
        return self.holder != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the table says of one service. `fence` outlives the lease: were that deleted, the next holder's is still a new one."""

    lease: Lease | None = None
    fence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a row write of a holder carries: it is refused unless the table has this very number there."""

    key: str
    number: int


def lease_key(service: str) -> str:
    return _LEASE + service


def fence_key(service: str) -> str:
    return _FENCE + service


def is_lease_key(key: object) -> bool:
    """Is the table's item of that key about a lease, and so no row?"""
    return isinstance(key, str) and key.startswith((_LEASE, _FENCE))
