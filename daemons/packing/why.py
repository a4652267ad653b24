"""Why a job gets no room, in a sentence that names the limit. Pure."""

from collections.abc import Collection

from daemons.model import Fleet, JobDemand
from daemons.packing.fit import may_go, tasks_a_node
from daemons.packing.rooms import Dimensions, Kind, fleet_room


def why_not(job: JobDemand, fleets: Collection[Fleet], dimensions: Dimensions) -> str:
    """The first limit that keeps the job from every fleet: its nodes' names, partition, features, shape, number, maximum."""
    if job.hostnames:
        return f"it must have {', '.join(sorted(job.hostnames))}"
    serving = [fleet for fleet in fleets if not job.partitions or fleet.spec.partition in job.partitions]
    if not serving:
        return f"no fleet serves partition {' or '.join(sorted(job.partitions))}"
    willing = [fleet for fleet in serving if may_go(job, fleet_room(fleet, Kind.NEW, 1, dimensions).sort)]
    if not willing:
        return f"no fleet offers {_wishes(job)}"
    fitting = {fleet.name: tasks_a_node(job, fleet_room(fleet, Kind.NEW, 1, dimensions), dimensions) for fleet in willing}
    if not any(fitting.values()):
        return "; ".join(_too_small(job, fleet, dimensions) for fleet in willing)
    sentences = []
    for fleet in willing:
        if not fitting[fleet.name]:
            continue
        nodes = max(job.nodes_min, -(-job.tasks // fitting[fleet.name]))
        sentences.append(_too_many(nodes, fleet))
    return "; ".join(sentences)


def _too_many(nodes: int, fleet: Fleet) -> str:
    if nodes > fleet.maximum:
        return f"needs {nodes} nodes; fleet {fleet.name} may hold {fleet.maximum}"
    if fleet.is_static:
        return f"fleet {fleet.name} is static, and its nodes are taken"
    return f"fleet {fleet.name} may hold no more than {fleet.maximum} nodes"


def _wishes(job: JobDemand) -> str:
    features = " or ".join("&".join(sorted(wanted)) for wanted in job.features)
    types = {shape.gpu_type for shape in (job.per_task, job.per_node) if shape.gpus and shape.gpu_type}
    return " with ".join(
        filter(None, [f"features {features}" if features else "", f"gpu {', '.join(sorted(types))}" if types else ""])
    )


def _too_small(job: JobDemand, fleet: Fleet, dimensions: Dimensions) -> str:
    """The resource that a node of the fleet lacks most for one task."""
    names = ("cpus", "MiB of memory", "gpus", *dimensions.consumables)
    need = [a + b for a, b in zip(dimensions.amounts(job.per_task), dimensions.amounts(job.per_node), strict=True)]
    have = dimensions.room(fleet.spec.shape)
    lacking = [(use, there, name) for use, there, name in zip(need, have, names, strict=True) if use > there]
    if not lacking:
        return f"fleet {fleet.name} has no node for it"
    use, there, name = max(lacking, key=lambda each: each[0] / max(1, each[1]))
    return f"a node of fleet {fleet.name} has {there} {name}, and it needs {use}"
