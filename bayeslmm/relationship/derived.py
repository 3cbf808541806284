"""Kernels derived from groups, from other kernels and from environments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.individuals import as_individuals, match_individuals
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import KernelScale, Relationship, name_some, row_blocks
from bayeslmm.system.memory import require_memory
from bayeslmm.tables.values import MISSING


def group_kernel(
    labels: pd.Series[Any], individuals: pd.MultiIndex | None = None, name: str | None = None
) -> Relationship:
    """Build a kernel of shared environment: ``K_ij = 1`` if i and j share a group, else 0.

    ``K = ZZᵀ`` with the indicators Z of the groups. Its variance σ² is the variance of a random
    effect of the group (household, litter, dam, year, ...).

    Parameters
    ----------
    labels
        Group of each individual, text or numbers, indexed by FID and IID or by IID.
    individuals
        (n,) FID and IID, matched by ID. Default: the individuals of `labels`.
    name
        Name of the component. Default: the name of `labels`.

    Returns
    -------
    Relationship
        Unscaled, of the kind "environment".

    Raises
    ------
    InputError
        If individuals have no label (the message names them), or there is a single group, or no
        group has two members.

    Examples
    --------
    >>> home = pd.Series(["A", "A", "B"], index=["i1", "i2", "i3"], name="home")
    >>> group_kernel(home).matrix
    array([[1., 1., 0.],
           [1., 1., 0.],
           [0., 0., 1.]])
    """
    codes, people = _codes(labels, individuals, "group")
    name = str(labels.name or "group") if name is None else name
    n = codes.size
    require_memory(10 * n * n, f"the kernel '{name}' of {n} individuals", "use fewer individuals")
    K = np.empty((n, n))
    for rows in row_blocks(n):
        K[rows] = codes[rows, None] == codes
    return Relationship(
        K,
        people,
        name=name,
        estimator="group",
        kernel_scale="none",
        source=str(labels.attrs.get("path", "")),
        kind="environment",
    )


def hadamard(
    a: Relationship,
    b: Relationship,
    name: str | None = None,
    individuals: pd.MultiIndex | None = None,
) -> Relationship:
    """Build a kernel of interaction: ``K_ij = a_ij b_ij / c``, the Hadamard product.

    A∘A gives additive by additive epistasis, A∘D additive by dominance, and so on (Cockerham 1954,
    Genetics 39:859; Henderson 1985, J Anim Sci 60:111). A kernel times a group kernel is a kernel
    within groups. c makes the mean diagonal one (Vitezica et al. 2017, Genetics 206:1297). If both
    kernels have the scale "none" (pedigrees), c is one and the product has it too, so its variance
    refers to the base population.

    Parameters
    ----------
    a, b
        The kernels, with their present scale and centring. They may be the same kernel.
    name
        Name of the component. Default: both names, as in "additive_dominance".
    individuals
        (n,) FID and IID. Default: the individuals of `a`.

    Returns
    -------
    Relationship
        Of the kind "genetic" if `a` or `b` is.

    Raises
    ------
    InputError
        If the mean diagonal of the product is not positive, or memory is too small.

    Examples
    --------
    >>> from bayeslmm.individuals import individual_index
    >>> sibs = individual_index("000", ["i1", "i2", "i3"])
    >>> K = Relationship(np.full((3, 3), 0.5) + np.eye(3) / 2, sibs, kernel_scale="none")
    >>> hadamard(K, K).matrix
    array([[1.  , 0.25, 0.25],
           [0.25, 1.  , 0.25],
           [0.25, 0.25, 1.  ]])
    """
    people = a.individuals if individuals is None else individuals
    left, right = a.on(people, "none"), b.on(people, "none")
    name = f"{a.name}_{b.name}" if name is None else name
    K = _product(left.matrix, right.matrix, name)
    scale: KernelScale = "none" if a.kernel_scale == b.kernel_scale == "none" else "asv"
    c = float(np.trace(K)) / K.shape[0] if scale == "asv" else 1.0
    if not c > 0:
        raise InputError(
            f"the product of {a.name} and {b.name} has the mean diagonal {c:.3g}",
            "a positive mean diagonal",
            "check the two kernels",
        )
    K /= c
    return Relationship(
        K,
        people,
        name=name,
        estimator="hadamard",
        factor=left.factor * right.factor * c,
        kernel_scale=scale,
        source=", ".join(dict.fromkeys(source for source in (a.source, b.source) if source)),
        kind="genetic" if "genetic" in (a.kind, b.kind) else "environment",
    )


def environment_interaction(
    kernel: Relationship,
    covariate: pd.Series[Any],
    name: str | None = None,
    individuals: pd.MultiIndex | None = None,
) -> Relationship:
    """Build a reaction norm kernel ``K ∘ eeᵀ``: genetic slopes on a covariate e.

    In ``g_i + e_i s_i`` with slopes s ~ N(0, σ² K) the second part has this kernel. It is a random
    regression with independent intercepts and slopes (Jarquín et al. 2014, Theor Appl Genet
    127:595). e is standardised on the individuals (mean 0, sd 1 with ddof 1), so σ² is the variance
    of the slopes per standard deviation of e.

    Parameters
    ----------
    kernel
        K; its `kernel_scale` says how it is scaled on the individuals.
    covariate
        e, a number for each individual, indexed by FID and IID or by IID.
    name
        Name of the component. Default: ``KERNEL_x_COVARIATE``.
    individuals
        (n,) FID and IID of the individuals to analyse. Default: the individuals of `kernel`.

    Raises
    ------
    InputError
        If individuals have no finite value (the message names them), or the covariate does not
        vary.

    Examples
    --------
    >>> from bayeslmm.individuals import individual_index
    >>> sibs = individual_index("000", ["i1", "i2", "i3"])
    >>> K = Relationship(np.full((3, 3), 0.5) + np.eye(3) / 2, sibs, kernel_scale="none")
    >>> heat = pd.Series([10.0, 20.0, 40.0], index=["i1", "i2", "i3"], name="heat")
    >>> environment_interaction(K, heat).matrix.round(2)
    array([[ 0.76,  0.1 , -0.48],
           [ 0.1 ,  0.05, -0.12],
           [-0.48, -0.12,  1.19]])
    """
    people = kernel.individuals if individuals is None else individuals
    what = str(covariate.name or "environment")
    try:
        values = _aligned(covariate, people, what).to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"'{what}' holds text", "numbers", "use within_environments for categories"
        ) from None
    _require(np.isfinite(values), people, what)
    sd = values.std(ddof=1) if values.size > 1 else 0.0
    if not sd > 1e-10 * np.abs(values).max():
        raise InputError(
            f"'{what}' does not vary among the {values.size} individuals",
            "a covariate that varies",
            "leave the interaction out",
        )
    e = (values - values.mean()) / sd
    own = kernel.on(people)
    name = f"{kernel.name}_x_{what}" if name is None else name
    K = _product(own.matrix, e, name)
    return replace(own, matrix=K, name=name, estimator="gxe")


def within_environments(
    kernel: Relationship,
    labels: pd.Series[Any],
    name: str | None = None,
    individuals: pd.MultiIndex | None = None,
) -> Relationship:
    """Build a kernel with ``K_ij`` within an environment and 0 between environments.

    Together with K it makes the compound-symmetric G×E model, where the genetic correlation between
    environments is ``σ²_K / (σ²_K + σ²_K×E)`` (Yang et al. 2011, GCTA --gxe).

    Parameters
    ----------
    kernel
        K; its `kernel_scale` says how it is scaled on the individuals.
    labels
        Environment of each individual, indexed by FID and IID or by IID.
    name
        Name of the component. Default: ``KERNEL_within_LABELS``.
    individuals
        (n,) FID and IID of the individuals to analyse. Default: the individuals of `kernel`.

    Raises
    ------
    InputError
        If individuals have no label (the message names them), or there is a single environment, or
        none has two members.

    Examples
    --------
    >>> from bayeslmm.individuals import individual_index
    >>> sibs = individual_index("000", ["i1", "i2", "i3"])
    >>> K = Relationship(np.full((3, 3), 0.5) + np.eye(3) / 2, sibs, kernel_scale="none")
    >>> farm = pd.Series(["A", "A", "B"], index=["i1", "i2", "i3"], name="farm")
    >>> within_environments(K, farm).matrix
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0. ],
           [0. , 0. , 1. ]])
    """
    people = kernel.individuals if individuals is None else individuals
    codes, _ = _codes(labels, people, "environment")
    own = kernel.on(people)
    name = f"{kernel.name}_within_{labels.name or 'environment'}" if name is None else name
    n = codes.size
    require_memory(10 * n * n, f"the kernel '{name}' of {n} individuals", "use fewer individuals")
    K = own.matrix.copy()
    for rows in row_blocks(n):
        K[rows][codes[rows, None] != codes] = 0.0
    return replace(own, matrix=K, name=name, estimator="gxe")


def _product(left: Floats, right: Floats, name: str) -> Floats:
    """Compute ``left ∘ right``, or ``left ∘ rrᵀ`` for a vector r; exactly symmetric."""
    n = left.shape[0]
    require_memory(10 * n * n, f"the kernel '{name}' of {n} individuals", "use fewer individuals")
    K = np.empty((n, n))
    for rows in row_blocks(n):
        other = right[rows] if right.ndim == 2 else right[rows, None] * right
        np.multiply(left[rows], other, out=K[rows])
    return K


def _codes(
    labels: pd.Series[Any], individuals: pd.MultiIndex | None, what: str
) -> tuple[NDArray[np.intp], pd.MultiIndex]:
    """Return the group number of each individual (n,), and the individuals."""
    people = as_individuals(labels.index, "the labels") if individuals is None else individuals
    name = str(labels.name or what)
    values = _aligned(labels, people, name)
    missing = values.isna() | values.map(lambda value: str(value).strip() in MISSING)
    _require(~missing.to_numpy(dtype=bool), people, name)
    codes, _ = pd.factorize(values)
    sizes = np.bincount(codes)
    if sizes.size == 1 or sizes.max() == 1:
        found = "a single group" if sizes.size == 1 else "no two individuals in one group"
        raise InputError(
            f"'{name}' has {found} among the {codes.size} individuals",
            f"at least two {what}s, and two individuals in one of them",
            "leave the component out: the data cannot separate it from the "
            + ("intercept" if sizes.size == 1 else "residual"),
        )
    return codes.astype(np.intp), people


def _aligned(values: pd.Series[Any], individuals: pd.MultiIndex, what: str) -> pd.Series[Any]:
    """Return the values of the individuals, matched by ID; raise `InputError` if any is absent."""
    match = match_individuals(individuals, as_individuals(values.index, f"'{what}'"))
    found = match.found & (not match.fids_differ)
    _require(found, individuals, what)
    return values.iloc[match.positions].reset_index(drop=True)


def _require(present: NDArray[np.bool_], individuals: pd.MultiIndex, what: str) -> None:
    absent = np.flatnonzero(~present)
    if absent.size:
        raise InputError(
            f"{absent.size} of {len(individuals)} individuals have no value of '{what}': "
            f"{name_some(individuals, absent)}",
            f"a value of '{what}' for every individual to be analysed",
            "leave these individuals out, or complete the column",
        )
