"""The version of the suite, and of the numbers that it computes.

MAJOR: the set of cells changed. MINOR: numbers may change. PATCH: numbers unchanged.
"""

__version__ = "0.3.1"

#: Version MAJOR.MINOR in every cell's description: another one makes other cells.
RESULTS_VERSION = ".".join(__version__.split(".")[:2])
