"""The version of the suite, and the versions of the numbers that it computes.

Every component (algorithm, task, model) has a version of its own (`Component.version`), and so has
what all cells have in common. A cell's description names the versions that are not 1, so a change
makes other cells only of what uses the changed part: all other records stay valid.
"""

__version__ = "0.3.1"

#: Versions of what all cells have in common: how engines compute, and how cells train and test.
COMMON = {"engines": 1, "protocol": 1}
#: Version at which every part was version 1; it is in every cell's description and never changes.
RESULTS_VERSION = "0.3"
