"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; skips where it is missing."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"shared data missing: {data}")
    return data
