"""Algorithms: one short file each, found by name through `suite.core.registry`."""
