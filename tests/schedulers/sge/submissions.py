"""Every kind of submission, and what it asks for: written by hand, checked against recordings and against a live Grid Engine."""

from dataclasses import dataclass, replace

from daemons.model import BlockedBy, Hostname, JobDemand, Shape

_ANY = JobDemand(jobs=(), nodes_max=1, per_task=Shape(cpus=1, memory_mib=100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    label: str
    options: str  # of qsub
    asks: tuple[JobDemand, ...]


def _asks(label: str, options: str, **fields: object) -> Submission:
    return Submission(label=label, options=options, asks=(replace(_ANY, **fields),))  # type: ignore[arg-type]


def _slot(memory_mib: int = 100, gpus: int = 0, **consumables: int) -> Shape:
    return Shape(cpus=1, memory_mib=memory_mib, gpus=gpus, consumables=tuple(consumables.items()))


def _features(*alternatives: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(words.split()) for words in alternatives)


_COMPUTE, _GPU = frozenset({"compute"}), frozenset({"gpu"})
_BLOCKED = {by.value: {"blocked_by": by} for by in BlockedBy}

SUBMISSIONS: tuple[Submission, ...] = (
    _asks("one slot", ""),
    _asks("slots on one host", "-pe smp 4", tasks=4),
    _asks("slots anywhere", "-pe mpi 12", tasks=12, nodes_max=None),
    _asks("slots in turn", "-pe rr 6", tasks=6, nodes_max=None),
    _asks("one slot a host", "-pe by1 3", tasks=3, tasks_per_node=1, nodes_min=3, nodes_max=3),
    _asks("four slots a host", "-pe by4 8", tasks=8, tasks_per_node=4, nodes_min=2, nodes_max=2),
    _asks("a range of slots", "-pe mpi 4-16", tasks=4, nodes_max=None),
    _asks("an open range", "-pe smp 2-", tasks=2),
    _asks("a list of slots", "-pe by4 6,8,12", tasks=8, tasks_per_node=4, nodes_min=2, nodes_max=2),
    _asks("slots that four does not divide", "-pe by4 6", tasks=6, nodes_max=None, **_BLOCKED["error"]),
    _asks("any environment", "-pe * 5", tasks=5, nodes_max=None),
    _asks("memory for each slot", "-l h_vmem=2G -pe smp 2", tasks=2, per_task=_slot(2048)),
    _asks("memory in other units", "-l h_vmem=1.5G", per_task=_slot(1536)),
    _asks("GPUs", "-l gpu=2", per_task=_slot(gpus=2)),
    _asks("GPUs for each slot", "-l gpu=1 -pe mpi 4", tasks=4, per_task=_slot(gpus=1), nodes_max=None),
    _asks("another consumable", "-l scratch=30", per_task=_slot(scratch=30)),
    _asks("whole hosts", "-l excl=true -pe by4 8", tasks=8, exclusive=True, tasks_per_node=4, nodes_min=2, nodes_max=2),
    _asks("no whole host", "-l exclusive=false"),
    _asks("a feature", "-l c5=true", features=_features("c5")),
    _asks("two features", "-l c5,m5", features=_features("c5 m5"), **_BLOCKED["unknown"]),
    _asks("the lack of a feature", "-l c5=false", features=_features("big", "gpu")),
    _asks("a queue", "-q gpu", partitions=_GPU),
    _asks("queues", "-q gpu,compute", partitions=_GPU | _COMPUTE),
    _asks("queues by pattern", "-q comp*", partitions=_COMPUTE),
    _asks("a host group", "-q *@@headnode-big", partitions=_COMPUTE, features=_features("big")),
    _asks("a host group of its own queue", "-q gpu@@headnode-gpu", partitions=_GPU),
    _asks("a large host", "-l num_proc=16", features=_features("big")),
    _asks("a host with much memory", "-l mem_total=20G", features=_features("big", "gpu")),
    _asks("a time limit", "-l h_rt=1:00:00 -l s_rt=0:59:00"),
    _asks("a kind of machine", "-l arch=lx-amd64"),
    _asks("soft wishes", "-soft -l num_proc=99 -q gpu"),
    _asks("a host", "-l h=bare-1", hostnames=frozenset({Hostname("bare-1")}), **_BLOCKED["node-list"]),
    _asks("one of two hosts", "-l h=bare-1|bare-2", **_BLOCKED["node-list"]),
    _asks("not a host", "-l h=!bare-1", excluded=frozenset({Hostname("bare-1")})),
    _asks("a licence", "-l matlab=1"),
    _asks("more licences than there are", "-l matlab=2", **_BLOCKED["licence"]),
    _asks("an array", "-t 1-9:2", count=5),
    Submission(
        label="a throttled array",
        options="-t 1-20 -tc 5",
        asks=(replace(_ANY, count=5), replace(_ANY, count=15, blocked_by=BlockedBy.ARRAY_LIMIT)),
    ),
    _asks("an array of parallel jobs", "-t 1-3 -pe smp 2", count=3, tasks=2),
    _asks("held", "-h", **_BLOCKED["hold"]),
    _asks("a held array", "-h -t 1-3", count=3, **_BLOCKED["hold"]),
    _asks("after another", "-hold_jid {held}", **_BLOCKED["dependency"]),
    _asks("task after task", "-t 1-3 -hold_jid_ad {array}", count=3, **_BLOCKED["dependency"]),
    _asks("later", "-a 203001010000", **_BLOCKED["begin-time"]),
)


def bare(job: JobDemand) -> JobDemand:
    """What is asked for, without what tells a job from its like."""
    return replace(job, jobs=(), priority=0, submitted_at=0.0, reason="")
