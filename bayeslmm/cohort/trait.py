"""Checks of a trait: name, coding, constant values, outliers, sample size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.system.files import PathArg

type TraitKind = Literal["empty", "constant", "binary", "coded", "quantitative"]

OUTLIER = 6.0  # standard deviations
SMALL = 10  # residual degrees of freedom


def trait_kind(values: ArrayLike) -> TraitKind:
    """Say what the values of a trait look like; NaN is ignored.

    Returns
    -------
    str
        "empty" (no value), "constant", "binary" (two values), "coded" (a case-control code with
        what may be a missing code: 0, 1, 2 or -9 among the values and nothing else), or
        "quantitative".

    Examples
    --------
    >>> [trait_kind(v) for v in ([1, 2, 2], [0, 1, 2], [1.5, 2.5, 3.0])]
    ['binary', 'coded', 'quantitative']
    """
    array = np.asarray(values, dtype=np.float64)
    distinct = set(np.unique(array[~np.isnan(array)]).tolist())
    if len(distinct) < 2:
        return "constant" if distinct else "empty"
    if distinct <= {-9.0, 0.0, 1.0, 2.0} and (len(distinct) > 2 or -9.0 in distinct):
        return "coded"
    return "binary" if len(distinct) == 2 else "quantitative"


def check_trait_name(name: str) -> None:
    """Refuse names that cannot name a group of a file (a trait becomes one)."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"the trait name {name!r}", "a printable name", "rename the column")
    if "/" in name or name in (".", "..") or name != name.strip():
        raise InputError(
            f"the trait name '{name}'",
            "a name without '/', that is not '.' or '..' and has no blanks around it "
            "(it names a group of the result file)",
            "rename the column, for instance with '_'",
        )


def check_coding(values: NDArray[np.float64], trait: str, *, path: PathArg | None = None) -> None:
    """Refuse infinite values, and codes such as 0/1/2 or -9/1/2, which nobody should guess."""
    if np.isinf(values).any():
        raise InputError(
            f"{int(np.isinf(values).sum())} infinite values of the trait '{trait}'",
            "finite numbers, or NA where missing",
            "correct them",
            path=path,
        )
    if trait_kind(values) == "coded":
        shown = ", ".join(f"{v:g}" for v in np.unique(values[~np.isnan(values)]))
        raise InputError(
            f"the trait '{trait}' has only the values {shown}",
            "a case-control trait coded 0/1 or 1/2 with NA for missing, or a quantitative trait",
            "write NA for missing values or use --missing-code (0 or -9); if these are counts, "
            "add --quantitative",
            path=path,
        )


def check_trait(
    y: NDArray[np.float64],
    trait: str,
    names: Sequence[str],
    *,
    quantitative: bool,
    path: PathArg | None = None,
) -> NDArray[np.float64]:
    """Check the analysed values of a trait and return them as a C-contiguous array.

    A binary trait is analysed as it is, on the observed 0/1 scale (1/2 is shifted to 0/1), with a
    warning that says so, and that the scale does not correct for ascertainment: at a prevalence
    of 1 % and half cases REML loses a third of a true h2 of 0.5 on the liability scale
    (Golan, Lander & Rosset 2014, PNAS 111, E5272).

    Raises
    ------
    InputError
        If a value is infinite, all values are equal, or there are two values that are no
        case-control code and `quantitative` is not said.

    Warns
    -----
    BayesLMMWarning
        For a binary trait unless `quantitative`, and for values beyond 6 standard deviations.
    """
    if np.isinf(y).any():
        shown = names[int(np.flatnonzero(np.isinf(y))[0])]
        raise InputError(
            f"an infinite value of the trait '{trait}' of {shown}",
            "finite numbers",
            "correct it",
            path=path,
        )
    if y.max() == y.min():
        raise InputError(
            f"the trait '{trait}' is constant: all {len(y)} values are {y[0]:g}",
            "values that differ",
            "choose another trait, or check which individuals are left",
            path=path,
        )
    kind = trait_kind(y)
    if kind == "binary" and not quantitative:
        low, high = float(y.min()), float(y.max())
        coding = f"{{{low:g}, {high:g}}}"
        n_high = int((y == high).sum())
        if (low, high) not in ((0.0, 1.0), (1.0, 2.0)):
            raise InputError(
                f"the trait '{trait}' has only the two values {low:g} and {high:g} ({n_high} of "
                f"{len(y)} have the higher one)",
                "a case-control trait coded 0/1 or 1/2, or a quantitative trait of more values",
                "recode it; if they are measurements, add --quantitative",
                path=path,
            )
        if low == 1.0:
            y, coding = y - 1.0, f"{coding}, analysed as {{0, 1}}"
        warn_user(
            f"the trait '{trait}' is binary, coded {coding} ({n_high} of {len(y)} have the higher "
            "value); it is analysed as a quantitative trait, so h2 is on the observed scale, not "
            "on the liability scale; if cases were sampled more often than they occur in the "
            "population (ascertainment), h2 is biased, and no factor computed from the prevalence "
            "puts it right: use a method for ascertained samples, such as PCGC regression",
        )
    elif kind != "binary":
        _warn_outliers(y, trait, names)
    return np.ascontiguousarray(y, dtype=np.float64)


def _warn_outliers(y: NDArray[np.float64], trait: str, names: Sequence[str]) -> None:
    largest = np.abs(y).max()
    z = y / largest
    z = (z - z.mean()) / z.std(ddof=1)
    far = np.flatnonzero(np.abs(z) > OUTLIER)
    if far.size:
        shown = ", ".join(f"{names[i]} ({y[i]:g}, z = {z[i]:.1f})" for i in far[:5])
        more = ", ..." if far.size > 5 else ""
        warn_user(
            f"{far.size} values of the trait '{trait}' lie more than {OUTLIER:g} standard "
            f"deviations from its mean: {shown}{more}; check them",
        )


def check_size(n: int, p: int, *, warn: bool = True) -> None:
    """Refuse fewer than p + 2 individuals; warn below p + 10.

    Parameters
    ----------
    n, p
        Individuals, and fixed effects with the intercept.
    warn
        Whether to warn at all.
    """
    if n - p < 2:
        rule = (
            f"p >= n leaves nothing to estimate; n - p = {n - p}" if p >= n else f"n - p = {n - p}"
        )
        raise InputError(
            f"n = {n} individuals and p = {p} fixed effects ({rule})",
            "n - p of at least 2",
            "use fewer covariates, or check where individuals were lost",
        )
    if warn and n - p < SMALL:
        warn_user(
            f"small sample: n = {n} individuals and p = {p} fixed effects; the posterior will "
            "mostly be the prior",
        )
