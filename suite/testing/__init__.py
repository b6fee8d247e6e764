"""Public contract tests, which every algorithm, task and model must pass.

A plug-in runs them on itself with a test file of two lines, with ``pytest`` in its folder::

    from suite.testing import contract_tests
    test_contract = contract_tests("my_plugin.py")
"""

from suite.testing.contracts import CHECKS, contract_tests

__all__ = ["CHECKS", "contract_tests"]
