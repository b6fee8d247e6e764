"""Executors compute cells: serially, interleaved on a GPU, in local worker processes, or on Ray."""

#: Names of the executors, as the command line takes them.
NAMES = ("serial", "interleaved", "local", "ray")
