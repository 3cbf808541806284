"""Formulas of fixed effects: parsed, checked against a whitelist, never evaluated as free Python.

formulaic evaluates the functions in a formula as Python. Here every such expression is first
parsed to its syntax tree, and only columns, numbers, + - * / **, and the functions of `FUNCTIONS`
may stand in it; anything else is an `InputError` before a value is computed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import InputError

FUNCTIONS = ("C", "I", "poly", "bs", "log", "log10", "exp", "sqrt", "scale", "center")
GRAMMAR = f"columns, + - * : ( ) and the functions {', '.join(FUNCTIONS)}"
MAX_POWER = 5
MAX_TERMS = 50  # of poly() and bs()

_CONTEXT: dict[str, Callable[..., Any]] = {"sqrt": np.sqrt, "log10": np.log10}
_QUOTED = re.compile("`([^`]*)`")
_MARKS = re.compile("\x1b\\[[0-9;]*m|[⧛⧚]")  # colours and brackets of formulaic's messages
_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.USub,
    ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.List, ast.Tuple,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ParsedFormula:
    """A formula that has passed the whitelist.

    Parameters
    ----------
    text
        The formula as given.
    columns
        The columns that it needs, in the order of their first use.
    categorical
        Those of them that stand inside ``C(...)`` and nowhere else.
    arithmetic
        Those that are used as numbers inside a function.
    """

    text: str
    columns: tuple[str, ...]
    categorical: frozenset[str]
    arithmetic: frozenset[str]


def parse_formula(text: str) -> ParsedFormula:
    """Parse a one-sided formula such as ``~ sex + age + C(batch) + poly(age, 2)``.

    Raises
    ------
    InputError
        If it is not a formula, has a left side, removes the intercept, or holds anything but
        columns, numbers and the functions of `FUNCTIONS`.
    """
    terms = _terms(text)
    if not any(str(term) == "1" for term in terms):
        raise InputError(
            f"the formula '{text}' removes the intercept",
            "an intercept, always: a GRM of centred genotypes cannot carry the mean",
            "leave out -1, +0 and 0+",
        )
    columns: dict[str, None] = {}
    bare: set[str] = set()
    categorical: set[str] = set()
    arithmetic: set[str] = set()
    for factor in (factor for term in terms for factor in term.factors):
        kind = factor.eval_method.value
        if kind == "lookup":
            columns[str(factor.expr)] = None
            bare.add(str(factor.expr))
        elif kind == "python":
            used, levels = _check(str(factor.expr), text)
            columns.update(dict.fromkeys(used))
            categorical |= levels
            arithmetic |= set(used) - levels
    levels_only = frozenset(categorical - bare - arithmetic)
    return ParsedFormula(text, tuple(columns), levels_only, frozenset(arithmetic))


def evaluate_formula(formula: ParsedFormula, frame: pd.DataFrame) -> pd.DataFrame:
    """Evaluate a parsed formula on complete rows: (n, p - 1) columns without the intercept.

    Values may come out non-finite (the log of a negative number); rows are never dropped.
    """
    from formulaic import Formula

    data = frame.reset_index(drop=True)
    try:
        with np.errstate(all="ignore"):
            matrix = Formula(formula.text).get_model_matrix(
                data, context=dict(_CONTEXT), na_action="ignore", output="pandas"
            )
    except Exception as error:
        raise _refused(formula.text, f"cannot be evaluated: {_plain(error)}", GRAMMAR) from None
    if len(matrix) != len(frame):
        raise _refused(formula.text, f"gives {len(matrix)} of {len(frame)} rows", "all rows")
    return pd.DataFrame(matrix).drop(columns="Intercept").set_axis(frame.index, axis=0)


def _terms(text: str) -> list[Any]:
    from formulaic import Formula, SimpleFormula

    powers = [int(power) for power in re.findall(r"(?:\*\*|\^)\s*(\d{1,9})", text)]
    if not text.strip() or not text.isprintable() or len(text) > 2000:
        raise _refused(text[:60], "is empty, unprintable or too long", GRAMMAR)
    if max(powers, default=0) > MAX_POWER:
        raise _refused(text, "has too high a power", f"powers of at most {MAX_POWER}")
    try:
        parsed = Formula(text)
    except Exception as error:
        raise _refused(text, f"cannot be parsed: {_plain(error)}", GRAMMAR) from None
    if not isinstance(parsed, SimpleFormula):
        raise _refused(text, "has two sides or several parts", "one side: '~ sex + age'")
    return list(parsed)


def _check(expression: str, text: str) -> tuple[list[str], set[str]]:
    """Columns of one Python expression, and those inside C(); refuse all that is not listed."""
    names: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        alias = f"_column_{len(names)}_"
        names[alias] = match[1]
        return f" {alias} "

    plain = _QUOTED.sub(placeholder, expression)
    if any(quote in expression for quote in "'\"\\") or "_column_" in expression:
        raise _refused(text, f"holds a quote or backslash in '{expression}'", GRAMMAR)
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        raise _refused(text, f"cannot be parsed at '{expression}'", GRAMMAR) from None
    called: set[ast.AST] = set()
    levels: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise _refused(text, f"holds '{expression}'", GRAMMAR)
        if isinstance(node, ast.Call):
            called.add(node.func)
            levels |= _check_call(node, text, names)
        elif isinstance(node, ast.Constant) and not isinstance(node.value, int | float | None):
            raise _refused(text, f"holds the constant {node.value!r}", "numbers only")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            _check_power(node, text)
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n not in called]
    columns = [names.get(node.id, node.id) for node in sorted(found, key=lambda n: n.col_offset)]
    if not columns:
        raise _refused(text, f"holds '{expression}' without a column", GRAMMAR)
    return list(dict.fromkeys(columns)), levels


def _check_call(node: ast.Call, text: str, names: dict[str, str]) -> set[str]:
    """Check one call; the column inside C(), if it is one."""
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise _refused(text, f"calls '{ast.unparse(node.func)}'", GRAMMAR)
    if any(keyword.arg is None or keyword.arg.startswith("_") for keyword in node.keywords):
        raise _refused(text, f"holds '{ast.unparse(node)}'", GRAMMAR)
    if node.func.id in ("poly", "bs"):
        sizes = [*node.args[1:], *(k.value for k in node.keywords if k.arg in ("df", "degree"))]
        if any(not isinstance(s, ast.Constant) or not _within(s.value, MAX_TERMS) for s in sizes):
            raise _refused(text, f"holds '{ast.unparse(node)}'", f"at most {MAX_TERMS} terms")
    if node.func.id != "C":
        return set()
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Name):
        raise _refused(text, f"holds '{ast.unparse(node)}'", "C(column): treatment coding")
    return {names.get(node.args[0].id, node.args[0].id)}


def _check_power(node: ast.BinOp, text: str) -> None:
    exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not isinstance(exponent, ast.Constant) or not _within(exponent.value, MAX_POWER):
        raise _refused(text, f"holds '{ast.unparse(node)}'", f"powers of at most {MAX_POWER}")


def _within(value: object, limit: float) -> bool:
    return isinstance(value, int | float) and abs(value) <= limit


def _refused(text: str, found: str, expected: str) -> InputError:
    fix = "write for instance '~ sex + age + C(batch)'; names with other signs go in `backticks`"
    shown = f"'{text}'" if text.isprintable() else repr(text)
    return InputError(f"the formula {shown} {found}", expected, fix)


def _plain(error: Exception) -> str:
    return " ".join(_MARKS.sub("", str(error)).split())[:200]
