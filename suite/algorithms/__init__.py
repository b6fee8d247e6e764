"""Algorithms, in one short file each; `suite.core.registry` finds them by name."""
