"""The version of the suite, and of the numbers that it makes.

MAJOR: the set of cells changed. MINOR: numbers may change. PATCH: numbers unchanged.
"""

__version__ = "0.3.1"

#: Part of every cell's description: results of another MAJOR.MINOR are other cells.
RESULTS_VERSION = ".".join(__version__.split(".")[:2])
