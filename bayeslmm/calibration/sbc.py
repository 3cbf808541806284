"""Simulation-based calibration of any model with any engine.

    θ ~ p(θ),   y ~ p(y | θ),   θ_1, ..., θ_L ~ p(θ | y) by the engine

If the engine is right, the rank of f(θ, y) among f(θ_1, y), ..., f(θ_L, y) is uniform for every f
(Talts et al. 2018, arXiv:1804.06788). Each f is tested with a simultaneous 95 % band of the
empirical distribution of its ranks (Säilynoja et al. 2022, Stat Comput 32:32), with Holm's
correction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pymc as pm

from bayeslmm.calibration.ecdf_band import p_value
from bayeslmm.calibration.parts import Unit, open_parts
from bayeslmm.calibration.problem import Problem, small_problem
from bayeslmm.calibration.processes import run_units
from bayeslmm.calibration.result import Calibration
from bayeslmm.calibration.run import Setup, Study, build, prepare
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.distributions.phenotype import observed_phenotype, set_phenotype
from bayeslmm.errors import InputError
from bayeslmm.inference.engine import Sampler
from bayeslmm.models.file import ModelFile
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants
from bayeslmm.system.files import PathArg
from bayeslmm.system.versions import exact_versions

type Progress = Callable[[int, int], None]

FEWEST = 20
PACKAGES = ("bayeslmm", "pymc", "pytensor", "numpy", "scipy", "nutpie")


def calibrate(
    model: pm.Model | ModelFile,
    n_sims: int = 1000,
    *,
    engine: str | Sampler = "auto",
    draws: int = 100,
    seed: int = 1,
    workers: int = 1,
    cohort: Cohort | None = None,
    matrices: Mapping[str, Any] | None = None,
    priors: Mapping[str, str] | None = None,
    words: str = "",
    parts: PathArg | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Run a simulation-based calibration.

    Parameters
    ----------
    model
        A model, or a model file such as ``bayeslmm.models.load("dominance")``. The phenotype of a
        model only sets the units of its priors, and is restored when the function returns.
    n_sims
        Number of simulations, at least 20.
    engine
        As for `bayeslmm.fit`, or your own function ``(model, draws, rng) → Replicate``
        (`bayeslmm.Replicate`).
    draws
        Number of near-independent draws among which each truth is ranked.
    seed
        Simulation i depends only on the seed and i, so that a longer run starts with the same
        simulations.
    workers
        Number of processes, with one thread each. A script that uses several must keep its code
        under ``if __name__ == "__main__":``. The result does not depend on the number.
    cohort, matrices
        For a model file: records, and matrices by name; default a small simulated problem
        (`bayeslmm.calibration.problem.small_problem`).
    priors
        For a model file, as text: ``{"h2": "beta(2, 2)"}``.
    words
        Description of the cohort for the report.
    parts
        Checkpoint file, which stores each finished simulation. A later call with the same arguments
        (except `n_sims` and `workers`) resumes from it.
    progress
        ``progress(done, total)``.

    Raises
    ------
    InputError, ModelError
        If options are invalid, if the model cannot be simulated or fitted by the engine, or if
        `parts` holds another calibration.
    """
    if n_sims < FEWEST or draws < FEWEST or workers < 1:
        raise InputError(
            f"n_sims = {n_sims}, draws = {draws}, workers = {workers}",
            f"at least {FEWEST} simulations of {FEWEST} draws, and one process",
            "for instance n_sims=1000, draws=100",
        )
    setup, built, words = _setup(model, cohort, matrices, priors, words, engine, draws, seed)
    before = observed_phenotype(built)
    digest = _digest(setup, built)
    study = prepare(setup, built)
    units: dict[int, Unit] = {}
    keeping: Any = nullcontext(({}, lambda unit: None))
    with (
        open_parts(parts, _facts(study, digest)) if parts is not None else keeping as (kept, append)
    ):
        units |= {i: unit for i, unit in kept.items() if i < n_sims}
        if progress is not None:
            progress(len(units), n_sims)

        def done(unit: Unit) -> None:
            append(unit)
            units[unit.index] = unit
            if progress is not None:
                progress(len(units), n_sims)

        try:
            run_units(study, [i for i in range(n_sims) if i not in units], workers, done)
        finally:
            set_phenotype(built, before)
    return _collect(study, words, [units[i] for i in range(n_sims)])


def _setup(
    model: pm.Model | ModelFile,
    cohort: Cohort | None,
    matrices: Mapping[str, Any] | None,
    priors: Mapping[str, str] | None,
    words: str,
    engine: str | Sampler,
    draws: int,
    seed: int,
) -> tuple[Setup, pm.Model, str]:
    if not isinstance(model, ModelFile):
        if cohort is not None or matrices or priors:
            raise InputError(
                "a built model, and a cohort, matrices or priors besides",
                "one or the other",
                "give the model file, bayeslmm.models.load(...), with them",
            )
        return Setup(model, None, {}, engine, draws, seed), model, words or "a model of yours"
    given = priors or {}
    if cohort is not None:
        problem = Problem(cohort, matrices or {}, words or f"{cohort.n} records of yours")
        setup = Setup(model, problem, given, engine, draws, seed)
        return setup, build(setup), problem.description
    setup, built = build_first(
        [Setup(model, small_problem(model, several=several), given, engine, draws, seed)
         for several in (False, True)]
    )  # fmt: skip
    assert setup.problem is not None
    return setup, built, setup.problem.description


def build_first(setups: list[Setup]) -> tuple[Setup, pm.Model]:
    """Build the model on the first setup that it accepts: one record per individual, or several.

    Raises
    ------
    InputError
        The model's error for the last setup, if it accepts none.
    """
    for setup in setups[:-1]:
        try:
            return setup, build(setup)
        except InputError:
            continue
    return setups[-1], build(setups[-1])


def _digest(setup: Setup, model: pm.Model) -> str:
    """Compute the SHA-256 of the data."""
    digest = hashlib.sha256()

    def add(array: Any) -> None:
        values = np.ascontiguousarray(array)
        digest.update(repr((values.shape, values.dtype.str)).encode() + values.tobytes())

    for variable in model.data_vars:
        digest.update(str(variable.name).encode())
        add(variable.get_value())
    if setup.problem is None:
        digest.update(str(model.str_repr()).encode())
    else:
        add(setup.problem.cohort.X)
        for name, matrix in sorted(setup.problem.matrices.items()):
            digest.update(name.encode())
            if isinstance(matrix, Relationship):
                add(matrix.on(setup.problem.cohort.people).matrix)
            elif isinstance(matrix, Variants):
                add(matrix.W)
    return digest.hexdigest()


def _facts(study: Study, digest: str) -> dict[str, Any]:
    setup = study.setup
    own = setup.model if isinstance(setup.model, ModelFile) else None
    return {
        "model": own.name if own else "model",
        "model_sha256": own.sha256 if own else None,
        "priors": dict(setup.priors),
        "engine": study.engine,
        "draws": setup.draws,
        "seed": setup.seed,
        "quantities": list(study.names),
        "data_sha256": digest,
        "versions": exact_versions(PACKAGES),
    }


def _collect(study: Study, words: str, units: list[Unit]) -> Calibration:
    setup = study.setup
    failed = np.array([unit.problem is not None for unit in units])
    u = np.array([unit.u for unit in units], dtype=np.float64)
    z = np.array([unit.z for unit in units], dtype=np.float64)
    u[failed], z[failed] = np.nan, np.nan
    return Calibration(
        model=setup.model.name if isinstance(setup.model, ModelFile) else "model",
        words=words,
        engine=study.engine,
        engine_reason=study.reason,
        draws=setup.draws,
        seed=setup.seed,
        names=study.names,
        u=u,
        z=z,
        p=np.array([p_value(x[np.isfinite(x)]) if np.isfinite(x).any() else np.nan for x in u.T]),
        sizes=np.array([unit.size for unit in units], dtype=np.int64),
        pareto_k=np.array([unit.pareto_k for unit in units]),
        fell_back=np.array([unit.fell_back for unit in units]),
        problems=tuple(unit.problem or "" for unit in units),
        seconds=np.array([unit.seconds for unit in units]),
    )
