"""Shared fixtures, and the size of the long tests."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--kills", type=int, default=12, help="SIGKILLs of the crash test; 50 for the long variant."
    )


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
