"""Fixtures of the tests of fitting."""

from __future__ import annotations

import pytest

from fallline.fitting import _compiled_epoch


@pytest.fixture
def scanned(monkeypatch):
    """A list of how many steps each call made."""
    found = []
    advance = _compiled_epoch.CompiledEpoch.advance

    def counted(self, order, batch):
        try:
            advance(self, order, batch)
        except KeyboardInterrupt:
            found.append(len(self.values))
            raise
        found.append(len(self.values))

    monkeypatch.setattr(_compiled_epoch.CompiledEpoch, "advance", counted)
    return found
