"""Versions of packages, our own to the last character: only the same code goes on with a study."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path


def exact_versions(packages: Iterable[str]) -> dict[str, str]:
    """Version of each package; that of bayeslmm with a digest of its source, 0.1.0+0c1bd0da."""
    found = {name: version(name) for name in packages}
    if "bayeslmm" in found:
        found["bayeslmm"] += f"+{source_digest()}"
    return found


@cache
def source_digest() -> str:
    """Eight characters that differ between any two states of the package's code.

    The gallery, which lies in a wheel's ``_models`` and not in a checkout's package, is no part of
    it: the file of a model stands in its provenance.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        if path.is_relative_to(folder / "_models"):
            continue
        text = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()[:8]
