"""Log lines straight to CloudWatch Logs: batches within AWS's limits, a bounded spool for when it is away, nobody ever waits."""

from daemons.cloudwatch.batch import Limits, Line, take
from daemons.cloudwatch.ship import LogStore, Shipper
from daemons.cloudwatch.spool import Spool

__all__ = ["Limits", "Line", "LogStore", "Shipper", "Spool", "take"]
