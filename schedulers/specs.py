"""What must not reach a scheduler's command line is refused before any command, for every plugin alike."""

from collections.abc import Callable, Sequence

from daemons.errors import InvalidValue
from daemons.model import Hostname, NodeSpec
from daemons.names import parse_address, parse_fleet_name, parse_hostname, parse_word
from schedulers.base import NodeResult, Outcome


def check_spec(node: NodeSpec) -> None:
    """Raises InvalidValue for a host name, address, fleet, partition or feature that is no plain word of its kind."""
    if parse_hostname(node.hostname) != node.hostname:
        raise InvalidValue(f"{node.hostname!r:.80} is not a host name as schedulers have it")
    parse_fleet_name(node.fleet)
    parse_address(node.address)
    for word in (node.partition, *node.features):
        parse_word(word)


def valid_specs(
    nodes: Sequence[NodeSpec], check: Callable[[NodeSpec], object] = check_spec
) -> tuple[dict[Hostname, NodeResult], list[NodeSpec]]:
    """REFUSED for those that `check` raises InvalidValue for, and the others. Of two nodes of one name the last counts: one name
    cannot have two addresses.
    """
    results: dict[Hostname, NodeResult] = {}
    valid: dict[Hostname, NodeSpec] = {}
    for node in nodes:
        try:
            check(node)
        except InvalidValue as err:
            results[node.hostname] = NodeResult(outcome=Outcome.REFUSED, detail=str(err))
        else:
            valid[node.hostname] = node
    return results, list(valid.values())
