"""Spectra compared bit by bit."""

from __future__ import annotations

import numpy as np

from bayeslmm.likelihood.spectrum import Spectrum


def same(a: Spectrum, b: Spectrum) -> bool:
    """Have two spectra the same numbers, coordinates and key?"""
    where = (a.key, a.p, a.basis.p, a.basis.nodes) == (b.key, b.p, b.basis.p, b.basis.nodes)
    pairs = [*zip(a.arrays, b.arrays, strict=True), (a.basis.columns, b.basis.columns)]
    return where and all(np.array_equal(one, other) for one, other in pairs)
