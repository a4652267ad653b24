"""A stateful stand-in for Torque's commands, for where there is no Torque: argv in, recorded shapes out.

Imports nothing: each command is a process of its own, and would load it.
"""
