"""Checks of a trait: name, coding, constant values, outliers, sample size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.system.files import PathArg

type TraitKind = Literal["empty", "constant", "binary", "coded", "quantitative"]

OUTLIER = 6.0  # standard deviations from the mean
SMALL = 10  # n - p below which the sample is called small


def trait_kind(values: ArrayLike) -> TraitKind:
    """Classify the values of a trait; NaN is ignored.

    Returns
    -------
    str
        "empty" (no value), "constant", "binary" (two values), "coded" (only 0, 1, 2 and -9, so
        perhaps a case-control code with a missing code), or "quantitative".

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
    """Raise `InputError` unless the name can name a group of the result file."""
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
    """Raise `InputError` for infinite values and for ambiguous codes such as 0/1/2 or -9/1/2."""
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
) -> tuple[NDArray[np.float64], str]:
    """Check the analysed values of a trait.

    The codes 1/2 of a binary trait are shifted to 0/1. A Gaussian model takes them as they are, on
    the observed scale, and warns when it is built (`bayeslmm.models.family`).

    Returns
    -------
    y
        (n,) the values, C-contiguous.
    coding
        How a binary trait is coded, "{1, 2}, analysed as {0, 1}"; empty for a quantitative one.

    Raises
    ------
    InputError
        If a value is infinite, all values are equal, or the only two values are not a case-control
        code and `quantitative` is False.

    Warns
    -----
    BayesLMMWarning
        For values beyond 6 standard deviations.
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
    kind, coding = trait_kind(y), ""
    if kind == "binary" and not quantitative:
        low, high = float(y.min()), float(y.max())
        coding = f"{{{low:g}, {high:g}}}"
        n_high = int((y == high).sum())
        if (low, high) not in ((0.0, 1.0), (1.0, 2.0)):
            raise InputError(
                f"the trait '{trait}' has only the two values {low:g} and {high:g} ({n_high} of "
                f"{len(y)} have the higher one)",
                "a case-control trait coded 0/1 or 1/2, or a quantitative trait with more values",
                "recode it; if they are measurements, add --quantitative",
                path=path,
            )
        if low == 1.0:
            y, coding = y - 1.0, f"{coding}, analysed as {{0, 1}}"
    elif kind != "binary":
        _warn_outliers(y, trait, names)
    return np.ascontiguousarray(y, dtype=np.float64), coding


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
    """Raise `InputError` for fewer than p + 2 individuals; warn below p + 10.

    Parameters
    ----------
    n, p
        Numbers of individuals and of fixed effects, with the intercept.
    warn
        Whether to warn; default True.
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
