"""Design of the fixed effects: intercept, covariates, categories, formula, full rank."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.individuals import name_of
from bayeslmm.ledger import Ledger
from bayeslmm.tables.formula import ParsedFormula, evaluate_formula, parse_formula
from bayeslmm.tables.phenotypes import require_columns

INTERCEPT = "intercept"
CONSTANT_TOLERANCE = 1e-10  # relative length below which a centred column is constant
COLLINEAR_TOLERANCE = 1e-7  # relative length below which a residual column is collinear


@dataclass(frozen=True, slots=True, eq=False)
class FixedEffects:
    """The columns of a covariate table that enter the design, and how.

    Parameters
    ----------
    columns
        Columns in the order of the design; with a formula, in the order of first use.
    categorical
        The columns that are dummy coded.
    formula
        The parsed formula, or None when the columns enter one by one.
    """

    columns: tuple[str, ...] = ()
    categorical: frozenset[str] = frozenset()
    formula: ParsedFormula | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A design of full column rank.

    Parameters
    ----------
    X
        (n, p) float64, C order, the intercept first.
    covariates
        (p,) names of the columns.
    ledger
        Dropped columns: constant, then collinear.
    """

    X: NDArray[np.float64]
    covariates: tuple[str, ...]
    ledger: Ledger


def fixed_effects(
    table: pd.DataFrame | None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
) -> FixedEffects:
    """Resolve names or a formula against a covariate table.

    Parameters
    ----------
    table
        The covariates, or None for an intercept only.
    covariate_names
        Columns that enter one by one. Default: all. Columns in `categorical` enter in any case.
    categorical
        Columns that are dummy coded, with names such as ``sex[2]``. The first level is the
        reference; levels are sorted as numbers if all are numbers, else as text.
    formula
        Instead of `covariate_names`: ``~ sex + age + C(batch)``, see `parse_formula`.

    Raises
    ------
    InputError
        For unknown columns, both names and a formula, text used as numbers, or no table.
    """
    if formula is not None and covariate_names is not None:
        raise InputError(
            "covariate names and a formula", "one of the two", "put the names into the formula"
        )
    if table is None:
        if formula is None and not covariate_names and not categorical:
            return FixedEffects()
        parsed = parse_formula(formula) if formula is not None else None
        if parsed is not None and not parsed.columns and not categorical:
            return FixedEffects()
        raise InputError(
            "covariates without a table", "a table that holds them", "give the table (--covar FILE)"
        )
    available = [str(name) for name in table.columns]
    path = table.attrs.get("path")
    if formula is not None:
        parsed = parse_formula(formula)
        require_columns([*parsed.columns, *categorical], available, path=path)
        levels = parsed.categorical | (set(categorical) & set(parsed.columns))
        for name in sorted(levels & parsed.arithmetic):
            raise InputError(
                f"the categorical covariate '{name}' inside a function of the formula",
                "numbers inside functions",
                f"write C({name}), or take it out of --cat-covar",
            )
        _require_numbers(table, set(parsed.columns) - levels, " or write C({name}) in the formula")
        return FixedEffects(parsed.columns, frozenset(levels), parsed)
    if covariate_names is None:
        columns = available
    else:
        columns = list(dict.fromkeys([*covariate_names, *categorical]))
    require_columns([*columns, *categorical], available, path=path)
    _require_numbers(table, set(columns) - set(categorical), "")
    return FixedEffects(tuple(columns), frozenset(categorical))


def build_design(frame: pd.DataFrame, effects: FixedEffects) -> Design:
    """Build the design on complete rows and make it full rank.

    The intercept is always the first column. Constant columns, and columns that are collinear with
    earlier ones, are dropped with a warning that names them (see `full_rank`).

    Parameters
    ----------
    frame
        (n, columns) covariates without missing values, indexed by FID and IID.
    effects
        Which columns enter, and how.

    Raises
    ------
    InputError
        If a value of the design is not finite; the message names individual and column.
    """
    if effects.formula is not None:
        columns = evaluate_formula(effects.formula, _formula_frame(frame, effects))
        for name in effects.columns:  # formulaic silently leaves out categories of one level
            if name in effects.categorical and frame[name].nunique() == 1:
                columns[f"C({name})"] = 1.0
    else:
        parts = [
            _dummies(frame[name]) if name in effects.categorical else frame[[name]].astype(float)
            for name in effects.columns
        ]
        columns = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=frame.index)
    return assemble_design(
        columns.to_numpy(np.float64), [str(c) for c in columns.columns], frame.index
    )


def assemble_design(
    columns: NDArray[np.float64], names: Sequence[str], individuals: pd.Index
) -> Design:
    """Put the intercept before columns (n, k), check them, and drop redundant ones."""
    if not np.isfinite(columns).all():
        row, column = np.argwhere(~np.isfinite(columns))[0]
        raise InputError(
            f"the value {columns[row, column]} of individual {name_of(*individuals[row])}",
            "finite numbers in the design",
            "correct the covariate or the function applied to it, or write NA",
            column=names[column],
        )
    X = np.column_stack([np.ones(len(columns)), columns])
    labels = (INTERCEPT, *names)
    for position, label in enumerate(labels):
        if label in labels[:position]:
            raise InputError(
                f"two columns of the design are named '{label}'", "different names", "rename one"
            )
    kept, constant, collinear = full_rank(X)
    ledger = Ledger()
    remaining = len(labels)
    for reason, positions in (
        ("constant", constant),
        ("collinear with earlier covariates", collinear),
    ):
        dropped = [labels[position] for position in positions]
        remaining -= len(dropped)
        ledger = ledger.add("covariates", reason, dropped, remaining=remaining)
        if dropped:
            shown = ", ".join(dropped[:20]) + (", ..." if len(dropped) > 20 else "")
            warn_user(
                f"covariates dropped because they are {reason}: {shown}",
            )
    return Design(np.ascontiguousarray(X[:, kept]), tuple(labels[k] for k in kept), ledger)


def full_rank(X: NDArray[np.float64]) -> tuple[list[int], list[int], list[int]]:
    """Choose columns of full rank by a rank-revealing QR that keeps earlier columns.

    The columns after the first (the intercept) are centred and scaled to length one. So units and
    offsets, such as a year of birth near 1990, do not matter. A column is constant if its centred
    length is below 1e-10 of its length. Then, from left to right, each column is made orthogonal
    to the columns kept, and it is collinear if less than 1e-7 of its length is left. Gram-Schmidt
    is done twice, which is as accurate as Householder's QR (Björck 1996, Numerical Methods for
    Least Squares Problems, section 2.4). This is the limited pivoting of LINPACK's dqrdc2 and R's
    ``lm``, with the same tolerance, after standardising.

    Parameters
    ----------
    X
        (n, p) finite, the first column all ones.

    Returns
    -------
    kept, constant, collinear
        Positions of columns; the first is always kept.
    """
    n, p = X.shape
    basis = np.zeros((min(n, p), n))
    rank = 0
    kept, constant, collinear = [0], [], []
    for position in range(1, p):
        column = X[:, position]
        largest = float(np.abs(column).max(initial=0.0)) or 1.0
        column = column / largest
        centred = column - column.mean()
        centred -= centred.mean()
        length = float(np.linalg.norm(centred))
        if length <= CONSTANT_TOLERANCE * float(np.linalg.norm(column)):
            constant.append(position)
            continue
        rest = centred / length
        for _ in range(2):
            rest = rest - basis[:rank].T @ (basis[:rank] @ rest)
        left = float(np.linalg.norm(rest))
        if left <= COLLINEAR_TOLERANCE or rank + 1 >= n:
            collinear.append(position)
            continue
        basis[rank] = rest / left
        rank += 1
        kept.append(position)
    return kept, constant, collinear


def _require_numbers(table: pd.DataFrame, names: Collection[str], hint: str) -> None:
    for name in (name for name in table.columns if name in names):
        if not pd.api.types.is_numeric_dtype(table[name]):
            value = next((v for v in table[name] if isinstance(v, str)), "")
            raise InputError(
                f"text such as {value!r} in covariate '{name}'",
                "numbers",
                f"if its values are categories, add --cat-covar {name}" + hint.format(name=name),
                path=table.attrs.get("path"),
                column=name,
            )


def _text(values: pd.Series[float]) -> list[str]:
    """Write levels as text, whole numbers without a decimal point."""
    return [v if isinstance(v, str) else format(v, ".15g") for v in values.tolist()]


def _sorted_levels(texts: Collection[str]) -> list[str]:
    """Order levels as numbers if all are finite numbers, else as text."""
    try:
        numbers = {text: float(text) for text in texts}
    except ValueError:
        return sorted(texts)
    if not all(math.isfinite(number) for number in numbers.values()):
        return sorted(texts)
    return sorted(texts, key=lambda text: (numbers[text], text))


def _dummies(values: pd.Series[float]) -> pd.DataFrame:
    """Dummy code: a 0/1 column for every level but the first; ones if there is one level."""
    texts = np.array(_text(values), dtype=object)
    levels = _sorted_levels(set(texts))
    columns = {f"{values.name}[{level}]": texts == level for level in levels[1:]}
    if not columns:
        columns = {str(values.name): np.ones(len(texts), dtype=bool)}
    return pd.DataFrame(columns, index=values.index, dtype=np.float64)


def _formula_frame(frame: pd.DataFrame, effects: FixedEffects) -> pd.DataFrame:
    """Prepare columns for the formula: categories with sorted levels, else float64."""
    data: dict[str, object] = {}
    for name in effects.columns:
        if name in effects.categorical:
            texts = _text(frame[name])
            data[name] = pd.Categorical(texts, categories=_sorted_levels(set(texts)))
        else:
            data[name] = frame[name].to_numpy(np.float64)
    return pd.DataFrame(data, index=frame.index)
