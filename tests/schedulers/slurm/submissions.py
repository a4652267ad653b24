"""Every kind of submission, and what it asks for: written by hand, checked against recordings and against a live Slurm."""

from dataclasses import dataclass, replace

from daemons.model import BlockedBy, JobDemand, Shape

_ANY = JobDemand(jobs=(), partitions=frozenset({"compute"}), nodes_max=1, per_task=Shape(cpus=1, memory_mib=100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    label: str
    options: str  # of sbatch
    asks: tuple[JobDemand, ...]


def _asks(label: str, options: str, **fields: object) -> Submission:
    return Submission(label=label, options=options, asks=(replace(_ANY, **fields),))  # type: ignore[arg-type]


def _task(cpus: int = 1, memory_mib: int = 100, gpus: int = 0, gpu_type: str = "") -> Shape:
    return Shape(cpus=cpus, memory_mib=memory_mib, gpus=gpus, gpu_type=gpu_type)


def _features(*alternatives: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(words.split()) for words in alternatives)


SUBMISSIONS: tuple[Submission, ...] = (
    _asks("one CPU", ""),
    _asks("a task of several CPUs", "-c3", per_task=_task(3, 300)),
    _asks("tasks that may spread", "-n12 -c2", tasks=12, per_task=_task(2, 200), nodes_max=None),
    _asks("tasks on one node", "-N1 -n4", tasks=4),
    _asks("nodes", "-N3", tasks=3, nodes_min=3, nodes_max=3),
    _asks("a range of nodes", "-N2-4", tasks=2, nodes_min=2, nodes_max=4),
    _asks("at most so many nodes", "-N1-3 -n12", tasks=12, nodes_max=3),
    _asks("tasks per node", "-n8 --ntasks-per-node=2", tasks=8, tasks_per_node=2, nodes_min=4, nodes_max=None),
    _asks("nodes and tasks per node", "-N2 --ntasks-per-node=3", tasks=6, tasks_per_node=3, nodes_min=2, nodes_max=2),
    _asks("memory per node", "-n4 --mem=1000", tasks=4, per_task=_task(1, 0), per_node=Shape(memory_mib=1000), nodes_max=None),
    _asks("memory per CPU", "-N2 -n4 --mem-per-cpu=500", tasks=4, per_task=_task(1, 500), nodes_min=2, nodes_max=2),
    _asks("memory in other units", "--mem=2G", per_task=_task(1, 2048)),
    _asks("all memory", "--mem=0", per_task=_task(1, 0), exclusive=True),
    _asks("CPUs of a node", "--mincpus=4", per_node=Shape(cpus=3)),
    _asks("whole nodes", "--exclusive -N2", tasks=2, exclusive=True, nodes_min=2, nodes_max=2),
    _asks("a feature", "-C c5", features=_features("c5")),
    _asks("two features", "-C c5&batch", features=_features("c5 batch")),
    _asks("a choice of features", "-C c5|p4d", features=_features("c5", "p4d")),
    _asks("features in parentheses", "-C (c5|p4d)&compute", features=_features("c5 compute", "p4d compute")),
    _asks("features by count", "-N2 -C [c5*1&p4d*1]", tasks=2, nodes_min=2, nodes_max=2, blocked_by=BlockedBy.UNKNOWN),
    _asks("GPUs of any type", "--gres=gpu:1", per_node=Shape(gpus=1)),
    _asks("GPUs of a type", "--gres=gpu:a100:2", per_node=Shape(gpus=2, gpu_type="a100")),
    _asks("GPUs on nodes", "-N2 --gpus-per-node=2", tasks=2, per_node=Shape(gpus=2), nodes_min=2, nodes_max=2),
    _asks("GPUs of the job", "--gpus=4", tasks=4, per_task=_task(1, 25, 1), nodes_max=None),
    _asks("GPUs of a job of tasks", "-n4 --gpus=a100:4", tasks=4, per_task=_task(1, 100, 1, "a100"), nodes_max=None),
    _asks("GPUs per task", "-n4 --gpus-per-task=1", tasks=4, per_task=_task(1, 100, 1), nodes_max=None),
    _asks("CPUs per GPU", "--gpus=2 --cpus-per-gpu=3", tasks=2, per_task=_task(3, 50, 1), nodes_max=None),
    _asks("memory per GPU", "--gpus=2 --mem-per-gpu=500", tasks=2, per_task=_task(1, 500, 1), nodes_max=None),
    _asks("more than there is", "-N40", tasks=40, nodes_min=40, nodes_max=40),
    _asks("an array", "--array=1-3,7,9-20:2", count=10),
    Submission(
        label="an array with a throttle",
        options="--array=1-20%5",
        asks=(replace(_ANY, count=5), replace(_ANY, count=15, blocked_by=BlockedBy.ARRAY_LIMIT)),
    ),
    Submission(
        label="a heterogeneous job",
        options="-n1 : -c2",
        asks=(_ANY, replace(_ANY, per_task=_task(2, 200))),
    ),
    _asks("held", "--hold", blocked_by=BlockedBy.HOLD),
    _asks("a held array", "--hold --array=1-4", count=4, blocked_by=BlockedBy.HOLD),
    _asks("waiting for another", "--dependency=afterok:1", blocked_by=BlockedBy.DEPENDENCY),
    _asks("a later time", "--begin=now+1hour", blocked_by=BlockedBy.BEGIN_TIME),
    _asks("a reason that is no obstacle", "--licenses=matlab:1"),
)  # fmt: skip


def bare(job: JobDemand) -> JobDemand:
    """Without what differs from run to run."""
    return replace(job, jobs=(), priority=0, submitted_at=0.0, reason="")
