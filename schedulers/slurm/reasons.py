"""Slurm's words for why a job waits (`Reason` of squeue, 22.05), and whether more nodes would help."""

from collections.abc import Mapping

from daemons.model import BlockedBy

_N, _LIMIT, _LICENCE = BlockedBy.NOTHING, BlockedBy.LIMIT, BlockedBy.LICENCE

_EXACT: Mapping[str, BlockedBy] = {
    # More nodes would help, or the scheduler has not looked at the job yet.
    "None": _N,
    "Resources": _N,
    "Priority": _N,
    "PartitionConfig": _N,
    "PartitionNodeLimit": _N,
    "NodeDown": _N,
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": _N,
    "Cleaning": _N,  # a requeued job whose old processes are being ended
    "FrontEndDown": BlockedBy.ERROR,
    # Somebody's word.
    "JobHeldUser": BlockedBy.HOLD,
    "JobHeldAdmin": BlockedBy.HOLD,
    "JobHoldMaxRequeue": BlockedBy.HOLD,
    "launch failed requeued held": BlockedBy.HOLD,
    "job requeued in held state": BlockedBy.HOLD,
    "Dependency": BlockedBy.DEPENDENCY,
    "DependencyNeverSatisfied": BlockedBy.DEPENDENCY,
    "BeginTime": BlockedBy.BEGIN_TIME,
    "Prolog": BlockedBy.BEGIN_TIME,
    "Deadline": BlockedBy.ERROR,
    "DeadLine": BlockedBy.ERROR,
    # Things that nodes do not bring.
    "Licenses": _LICENCE,
    "BurstBufferResources": _LICENCE,
    "BurstBufferStageIn": _LICENCE,
    "BurstBufferOperation": BlockedBy.ERROR,
    "Reservation": BlockedBy.RESERVATION,
    "ReservationDeleted": BlockedBy.RESERVATION,
    "ReqNodeNotAvail, Reserved for maintenance": BlockedBy.RESERVATION,
    "Reserved for maintenance": BlockedBy.RESERVATION,
    "JobArrayTaskLimit": BlockedBy.ARRAY_LIMIT,
    "PartitionTimeLimit": _LIMIT,
    "PartitionDown": _LIMIT,
    "PartitionInactive": _LIMIT,
    "TimeLimit": _LIMIT,
    "AccountingPolicy": _LIMIT,
    "AssociationJobLimit": _LIMIT,
    "AssociationResourceLimit": _LIMIT,
    "AssociationTimeLimit": _LIMIT,
    "AccountNotAllowed": _LIMIT,
    "QOSNotAllowed": _LIMIT,
    "QOSJobLimit": _LIMIT,
    "QOSResourceLimit": _LIMIT,
    "QOSTimeLimit": _LIMIT,
    "QOSUsageThreshold": _LIMIT,
    "MaxMemPerLimit": _LIMIT,
    "MaxBillingPerAccount": _LIMIT,
    # The job cannot run as it is.
    "BadConstraints": BlockedBy.ERROR,
    "InvalidAccount": BlockedBy.ERROR,
    "InvalidQOS": BlockedBy.ERROR,
    "JobLaunchFailure": BlockedBy.ERROR,
    "NonZeroExitCode": BlockedBy.ERROR,
    "SystemFailure": BlockedBy.ERROR,
    "NO_LICENSE": _LICENCE,
}

# Slurm builds hundreds of reasons from these: AssocGrpCPULimit, QOSMaxJobsPerUserLimit, AssocMaxNodePerJobLimit, ...
_LIMIT_BEGINNINGS = ("Assoc", "QOS", "MaxTRES", "MaxCpu", "MaxNode", "MaxJobs", "MaxMem")


def blocked_by(reason: str) -> BlockedBy:
    """What the reason means. One that is not known is UNKNOWN: better to wait for a human than to buy nodes for it."""
    reason = reason.strip().removeprefix("(").removesuffix(")")
    if reason in _EXACT:
        return _EXACT[reason]
    if reason.startswith("ReqNodeNotAvail"):
        return _N  # "…, May be reserved for other job", "…, UnavailableNodes:n[1-2]": the nodes it could use are away
    if reason.startswith(_LIMIT_BEGINNINGS):
        return _LIMIT
    return BlockedBy.UNKNOWN
