"""Every built-in component against the public contract tests."""

import os
from pathlib import Path

from suite.testing import contract_tests

_NEAR = Path(__file__).resolve().parents[3] / "shared" / "data" / "omniglot"
_DATA = os.environ.get("FEWSHOT_SUITE_OMNIGLOT")

test_contract = contract_tests(data=Path(_DATA) if _DATA else _NEAR if _NEAR.is_dir() else None)
