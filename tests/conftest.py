"""Shared fixtures, and the size of the long tests."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--kills", type=int, default=12, help="SIGKILLs of the crash test; 50 for the long variant."
    )
    parser.addoption("--slow", action="store_true", help="Run the slow tests, too.")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; runs with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
