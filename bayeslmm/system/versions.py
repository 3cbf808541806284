"""Exact versions of packages, so that a study is resumed only by the same code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path


def exact_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package; bayeslmm's has a source digest: 0.1.0+0c1bd0da."""
    found = {name: version(name) for name in packages}
    if "bayeslmm" in found:
        found["bayeslmm"] += f"+{source_digest()}"
    return found


@cache
def source_digest() -> str:
    """Return eight characters that differ between any two states of the package's code.

    Model files are left out, because provenance records them, and a checkout keeps them outside the
    package (a wheel has them in ``_models``).
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        if path.is_relative_to(folder / "_models"):
            continue
        text = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()[:8]
