"""Executors compute cells: serially, interleaved on a GPU, in local worker processes, or on Ray."""
