"""Executors compute cells: serially, in local worker processes, or on Ray."""

#: Names of the executors, as the command line takes them.
NAMES = ("serial", "local", "ray")
