"""What a shell completes: the names of nodes and fleets, from what the services have written. Never an error, never a wait."""

import contextlib
from collections.abc import Callable, Iterable

from daemons.errors import HeadnodeError


def complete_node(incomplete: str) -> list[str]:
    """Host names, and instance ids once somebody begins to write one."""
    by_id = incomplete.startswith("i-")
    return _complete(incomplete, lambda: _nodes(by_id=by_id))


def complete_fleet(incomplete: str) -> list[str]:
    return _complete(incomplete, _fleets)


def _complete(incomplete: str, known: Callable[[], Iterable[str]]) -> list[str]:
    with contextlib.suppress(HeadnodeError, OSError):
        return sorted({name for name in known() if name.startswith(incomplete)})
    return []


def _nodes(*, by_id: bool) -> Iterable[str]:
    from daemons.cli.common import read_config  # noqa: PLC0415  nothing of it is needed where nobody completes
    from daemons.cli.gather import read_records  # noqa: PLC0415

    records = read_records(read_config(None))
    if records.nodes is not None:
        for snapshot in records.nodes.seen.snapshots:
            yield snapshot.row.instance_id if by_id else snapshot.row.hostname or snapshot.row.instance_id


def _fleets() -> Iterable[str]:
    from daemons.cli.common import read_config  # noqa: PLC0415

    return [fleet.name for fleet in read_config(None).fleets]
