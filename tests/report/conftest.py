"""Made-up scores were not known before the rule of the margins, unless a test says so."""

from __future__ import annotations

import pytest

from suite.published import margins


@pytest.fixture(autouse=True)
def _unknown(monkeypatch):
    monkeypatch.setattr(margins, "KNOWN", ())


@pytest.fixture
def known(monkeypatch):
    """The scores of all settings were known before the rule."""
    monkeypatch.setattr(margins, "KNOWN", ("*",))
