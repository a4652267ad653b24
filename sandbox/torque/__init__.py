"""A stateful stand-in for Torque's commands, for where there is no Torque: argv in, recorded shapes out."""

from sandbox.torque.cluster import FakeTorque

__all__ = ["FakeTorque"]
