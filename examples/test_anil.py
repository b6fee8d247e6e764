"""The public contract tests, applied to the plug-in beside this file."""

from suite.testing import contract_tests

test_contract = contract_tests("anil.py")
