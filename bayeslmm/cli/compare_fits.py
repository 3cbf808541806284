"""Fits of several models to the same records, their leave-one-out, and tests of zero shares.

All models are built and checked before the first fit, because a fit may take long and is useless
if another model cannot be compared with it.
"""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bayeslmm.cli.compare_models import NULL, model_priors, takes_groups
from bayeslmm.errors import BayesLMMError, BayesLMMWarning, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pymc as pm

    from bayeslmm.cli.compare_models import Files
    from bayeslmm.cli.terminal import Terminal
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.comparison.loo.result import LeaveOneOut
    from bayeslmm.comparison.zero_tests import ZeroTest
    from bayeslmm.report.compared_fit import Fit

LOO_DRAWS = 500


def fit_models(
    args: Namespace,
    terminal: Terminal,
    files: Files,
    cohort: Cohort,
    kernels: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Any],
) -> list[Fit]:
    """Build and fit every model.

    Raises
    ------
    ModelError
        If a model cannot be built, fitted or used for leave-one-out; the message names it.
    """
    from bayeslmm.inference.diagnostics import diagnose
    from bayeslmm.inference.fit import fit
    from bayeslmm.report.compared_fit import Fit

    built = _build(args, terminal, files, cohort, kernels, groups)
    found = []
    for name, model in built.items():
        with terminal.step(f"{name}: posterior of {cohort.n} records"), saying(terminal, name):
            tree = fit(
                model, _engine(args, name), draws=args.draws, seed=args.seed, cores=args.threads
            )
        diagnosis = diagnose(tree)
        if not diagnosis.ok:
            terminal.warn(f"{name}: {diagnosis.verdict}")
        found.append(Fit(name, tree, model, diagnosis))
    return found


def _build(
    args: Namespace,
    terminal: Terminal,
    files: Files,
    cohort: Cohort,
    kernels: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Any],
) -> dict[str, pm.Model]:
    """Build the models by name; each can be fitted and compared."""
    from bayeslmm.comparison.table import null_model
    from bayeslmm.distributions.phenotype import marginal_of
    from bayeslmm.inference.choose import choose_engine

    built = {}
    with terminal.step(f"models of {cohort.n} records"):
        for name, file in files.items():
            priors = model_priors(args, file)
            with saying(terminal, name):
                if file is None:
                    built[name] = null_model(cohort, priors)
                    continue
                given = {**kernels[name], **(groups if takes_groups(file) else {})}
                built[name] = file.build(cohort, given, priors)
                choose_engine(built[name], _engine(args, name))
                if marginal_of(built[name]) is None:
                    raise ModelError(
                        "genetic values that are parameters -> a model that integrates them out, "
                        "as leave-one-out needs -> additive instead of additive_cholesky"
                    )
    return built


def _engine(args: Namespace, name: str) -> str:
    """Return --engine, or the exact engine for the model fixed."""
    engine: str = "auto" if name == NULL else args.engine
    return engine


def leave_out(args: Namespace, terminal: Terminal, fits: Sequence[Fit]) -> dict[str, LeaveOneOut]:
    """Compute leave-one-out of every model."""
    from bayeslmm.comparison.loo.elpd import loo

    found = {}
    for one in fits:
        few = "quadrature" not in one.tree.children
        draws = args.loo_draws or (min(LOO_DRAWS, args.draws) if few else None)
        task = f"{one.name}: leaving out each of {one.tree['observed_data'].sizes['individual']}"
        with terminal.step(f"{task} records"), saying(terminal, one.name):
            found[one.name] = loo(
                one.tree, one.model, draws=draws, seed=args.seed, cores=args.threads
            )
    return found


def weigh_all_zeros(
    args: Namespace, terminal: Terminal, fits: Sequence[Fit]
) -> tuple[dict[str, list[ZeroTest]], dict[str, str]]:
    """Test zero shares of each model; also return, by model, the reason for having no tests."""
    from bayeslmm.comparison.zero_tests import weigh_zeros, why_no_zeros

    tests: dict[str, list[ZeroTest]] = {}
    untested: dict[str, str] = {}
    for one in fits:
        if one.name == NULL:
            continue
        with saying(terminal, one.name):
            if reason := why_no_zeros(one.tree, one.model):
                untested[one.name] = reason
            else:
                tests[one.name] = weigh_zeros(
                    one.tree, one.model, seed=args.seed, workers=args.threads
                )
    return tests, untested


@contextmanager
def saying(terminal: Terminal, name: str) -> Iterator[None]:
    """Prefix warnings and errors with the model's name; drop the warnings of fixed, about h²."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BayesLMMWarning)
        try:
            yield
        except BayesLMMError as error:
            if not name:
                raise
            raise ModelError(f"{name}: {error}") from error
    for warning in caught:
        if issubclass(warning.category, BayesLMMWarning) and name != NULL:
            terminal.warn(f"{name}: {warning.message}" if name else str(warning.message))
