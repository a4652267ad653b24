"""A look of nodewatcher's in words: a line for each node, and why one stays or goes. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from nodewatcher.judge import clock
from nodewatcher.observe import NodeSnapshot
from nodewatcher.record import Record, Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """One node, for a table. `idle_s` is None unless it is idle; `metrics_age_s` is None where it has sent none."""

    node: str
    instance_id: str
    fleet: str
    state: str  # its row's
    scheduler: str  # what the scheduler says of it; "" where it does not mention it
    jobs: int
    cpus: str  # in use of all
    idle_s: float | None
    metrics_age_s: float | None
    verdict: str


def node_lines(record: Record) -> tuple[NodeLine, ...]:
    """Every node, by fleet and name."""
    said = {one.instance_id: one for one in record.verdicts}
    lines = (_line(one, said.get(one.row.instance_id), record.seen.now) for one in record.seen.snapshots)
    return tuple(sorted(lines, key=lambda line: (line.fleet, line.node)))


def explain_node(record: Record, name: str) -> tuple[str, ...]:
    """Why the node of that host name or instance id stays or goes; () for one that nodewatcher does not know."""
    said = {one.instance_id: one for one in record.verdicts}
    for one in record.seen.snapshots:
        verdict = said.get(one.row.instance_id)
        if name in (one.row.hostname, one.row.instance_id) and verdict is not None:
            return tuple(f"{name} {part}" for part in _parts(one, verdict, record.seen.now))
    return ()


def _line(one: NodeSnapshot, verdict: Sentence | None, now: float) -> NodeLine:
    row, node = one.row, one.node
    return NodeLine(
        node=row.hostname or "",
        instance_id=row.instance_id,
        fleet=row.fleet,
        state=row.state,
        scheduler="" if node is None else ", ".join(sorted(node.states)) or "idle",
        jobs=len(node.jobs) if node is not None else 0,
        cpus=f"{node.used.cpus}/{node.total.cpus}" if node is not None else "",
        idle_s=max(0.0, now - row.idle_since) if row.idle_since is not None else None,
        metrics_age_s=max(0.0, now - one.reading.at) if one.reading is not None else None,
        verdict=verdict.reason if verdict is not None else "",
    )


def _parts(one: NodeSnapshot, verdict: Sentence, now: float) -> Iterator[str]:
    yield f"is to {verdict.action} at {clock(now)}: {verdict.reason}"
    if (until := one.row.hold_ends_at(now)) is not None:
        by = f" by {one.row.held_by}" if one.row.held_by else ""
        yield f"is held{by} until {clock(until)}"
    if one.reading is not None:
        host = one.reading.host
        gone = ", and its agent is gone" if one.reading.gone else ""
        yield f"said {now - one.reading.at:.0f} s ago: CPU {host.cpu_share:.0%} busy, {host.sessions} logged in{gone}"
    if one.impaired:
        yield "fails EC2's status checks"
