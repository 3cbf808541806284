"""Eigenvalues of a planned study: from a relationship matrix, or from n and Me.

Among unrelated people a GRM of n individuals behaves like a GRM of Me independent segments. The
variance of its relationships is 1/Me and the variance of its eigenvalues n/Me, so the eigenvalues
follow the Marchenko-Pastur law. Relatives (families, lines) add large eigenvalues.

References
----------
Marchenko & Pastur (1967) Math USSR Sb 1:457; Goddard (2009) Genetica 136:245 and Visscher et al.
(2014) PLoS Genet 10:e1004269 (the number of segments and the standard error of h²).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.files import PathArg, read_lines, require_file

if TYPE_CHECKING:
    from bayeslmm.relationship.relationship import Relationship


def marchenko_pastur(n: int, segments: float, fixed_effects: int = 1) -> Floats:
    """Return the eigenvalues that n unrelated individuals are expected to have.

    They are the quantiles, at (i - ½)/m, of the limiting law of ``ZZᵀ/Me`` with Z (n, Me) standard
    normal; their mean is one and their variance n/Me. With fewer segments than individuals a share
    1 - Me/n of them is zero.

    Parameters
    ----------
    n
        Number of individuals.
    segments
        Me, the effective number of independent segments: about 50 000 among unrelated people of
        European ancestry, hundreds or a few thousand in breeds and closed populations.
    fixed_effects
        Columns of X, with the intercept; default 1.

    Returns
    -------
    array
        (n - fixed_effects,) eigenvalues, ascending.

    Raises
    ------
    InputError
        If fewer than two contrasts remain, or Me is not positive.
    """
    m = n - fixed_effects
    if m < 2 or not (math.isfinite(segments) and segments > 0):
        raise InputError(
            f"n = {n} with {fixed_effects} fixed effects and {segments:g} segments",
            "at least two individuals more than fixed effects, and a positive number of segments",
            "change them",
        )
    ratio = n / segments
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    theta = np.linspace(0.0, np.pi, 100_001)
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(theta)
    density = np.sin(theta) ** 2 / np.maximum(x, 1e-300)  # after substitution, up to a constant
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    null = max(0.0, 1.0 - 1.0 / ratio)
    cdf = null + (1.0 - null) * cdf / cdf[-1]
    place = (np.arange(m) + 0.5) / m
    s = np.where(place > null, np.interp(place, cdf, x), 0.0)
    return np.asarray(s / s.mean())


def effective_segments(eigenvalues: Floats, n: int) -> float:
    """Return Me = n / var(s), the number of independent segments with the same information.

    The information is meant at h² = 0.

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts.
    n
        Number of individuals.
    """
    spread = float(np.var(eigenvalues))
    return n / spread if spread > 0 else math.inf


def relationship_eigenvalues(
    relationship: Relationship,
    *,
    fixed_effects: int = 1,
    n: int | None = None,
    seed: int = 1,
) -> Floats:
    """Return the eigenvalues (m,) of a relationship among the error contrasts.

    Parameters
    ----------
    relationship
        Relationships of the individuals. `Relationship.on` scales them on those taken.
    fixed_effects
        Columns of X: the intercept, and covariates drawn at random, unrelated to the relationship.
    n
        Number of individuals, drawn at random. Default: all.
    seed
        Seed of both draws.

    Raises
    ------
    InputError
        If fewer than two contrasts remain.
    """
    from bayeslmm.likelihood.decompose import decompose

    rng = np.random.default_rng(seed)
    individuals = relationship.individuals
    if n is not None and n < relationship.n:
        individuals = individuals[np.sort(rng.choice(relationship.n, n, replace=False))]
    kernel = relationship.on(individuals)
    X = np.ones((kernel.n, fixed_effects))
    X[:, 1:] = rng.standard_normal((kernel.n, fixed_effects - 1))
    if kernel.n - fixed_effects < 2:
        raise InputError(
            f"{kernel.n} individuals for {fixed_effects} fixed effects",
            "at least two individuals more than fixed effects",
            "use more individuals or fewer covariates",
        )
    return decompose(kernel.matrix, X).eigenvalues


def read_eigenvalues(path: PathArg) -> tuple[Floats, int]:
    """Read eigenvalues (m,) from a file, and the number of fixed effects they were made with.

    Parameters
    ----------
    path
        The ``.npz`` that ``bayeslmm h2 --spectrum`` keeps (`Spectrum.save`), or text with one
        number per line; ``#`` begins a comment. Text is taken to have one fixed effect.

    Raises
    ------
    InputError
        If the file is missing or damaged, or a line is not a number.
    """
    if Path(path).suffix != ".npz":
        return _read_text(path), 1
    try:
        with open(require_file(path), "rb") as file, np.load(file, allow_pickle=False) as archive:
            s, triangle = archive["eigenvalues"], archive["triangle"]
        if s.ndim != 1 or s.dtype != float or triangle.ndim != 2:
            raise ValueError("its arrays do not belong to a spectrum")
    except InputError:
        raise
    except (ValueError, KeyError, OSError, EOFError, TypeError, BadZipFile) as error:
        raise InputError(
            f"not a spectrum file ({error})",
            "the .npz file of bayeslmm h2 --spectrum, or text with one eigenvalue per line",
            "make it again, or give --grm",
            path=path,
        ) from None
    return np.asarray(s), int(triangle.shape[0])


def _read_text(path: PathArg) -> Floats:
    values = []
    for number, line in enumerate(read_lines(path), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            values.append(float(text))
        except ValueError:
            raise InputError(
                f"{text[:40]!r}", "one number per line", "give the eigenvalues, one per line",
                path=path, line=number,
            ) from None  # fmt: skip
    return np.array(values)
