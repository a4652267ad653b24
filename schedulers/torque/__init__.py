"""The Torque plugin: nodes created and deleted by qmgr, waiting work read from qstat."""

from schedulers.torque.plugin import Torque
from schedulers.torque.settings import TorqueSettings

__all__ = ["Torque", "TorqueSettings"]
