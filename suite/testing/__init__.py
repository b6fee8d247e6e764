"""Public contract tests: what every algorithm, task and model is checked against.

A plug-in applies them to itself with a test file of two lines, run by ``pytest`` in its folder::

    from suite.testing import contract_tests
    test_contract = contract_tests("my_plugin.py")
"""

from suite.testing.contracts import CHECKS, contract_tests

__all__ = ["CHECKS", "contract_tests"]
