"""Best linear unbiased prediction at given variances, in closed form.

    û = Cov(u, y) P y,   Var(u - û) = Var(u) - Cov(u, y) P Cov(y, u)
    P = V⁻¹ - V⁻¹X (XᵀV⁻¹X)⁻¹XᵀV⁻¹

Henderson's mixed model equations give the same values. This form needs no inverse of a kernel, so
it covers several kernels, singular kernels, and individuals without records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import scipy.linalg
from numpy.typing import ArrayLike

from bayeslmm.errors import InputError
from bayeslmm.inference.effects_candidates import extend_effects
from bayeslmm.likelihood.explained import covariances_with_y, explained_by
from bayeslmm.likelihood.terms import Covariance, residual_trait_term
from bayeslmm.models.family import family_of, require_gaussian
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.posterior.prediction import prior_variances, quantities, ratio, table
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


@one_thread()
def compute_blup(
    model: pm.Model,
    cohort: Cohort,
    relationships: Mapping[str, Relationship | Variants],
    variances: Mapping[str, ArrayLike],
    *,
    individuals: pd.MultiIndex | None = None,
) -> pd.DataFrame:
    """Compute the BLUP of all genetic values at given variances, β by generalised least squares.

    Parameters
    ----------
    model
        Model that defines the random terms; its priors are not used.
    cohort, relationships, individuals
        As for `bayeslmm.posterior.prediction.prediction_table`.
    variances
        Variances by the name of the term, and "residual": a number; a matrix (k, k) for a term of k
        effects and for several traits; numbers (classes,) for several residual variances.

    Returns
    -------
    DataFrame
        The columns of `prediction_table`. sd is the root of the prediction error variance, which
        includes the uncertainty of β̂; the interval is û ± 1.96 sd; ``attrs["beta"]`` holds β̂.

    Raises
    ------
    InputError
        If a term has no variance, or the phenotype is not Gaussian.

    Examples
    --------
    >>> import numpy as np
    >>> import bayeslmm as bl
    >>> rng = np.random.default_rng(1)
    >>> genotypes = bl.from_array(rng.binomial(2, 0.4, size=(40, 100)))
    >>> grm = bl.compute_grm(genotypes)
    >>> analysed = genotypes.individuals[:35]
    >>> cohort = bl.cohort_from_arrays(rng.normal(size=35), individuals=analysed)
    >>> model = bl.models.additive(cohort, grm)
    >>> variances = {"additive": 0.5, "residual": 0.5}
    >>> table = bl.compute_blup(model, cohort, {"additive": grm}, variances)
    >>> table.loc[[0, 39], ["IID", "component", "phenotyped"]]
       IID component  phenotyped
    0    1  additive        True
    39  40  additive       False

    References
    ----------
    Henderson (1975) Biometrics 31:423.
    """
    require_gaussian(family_of(model), "BLUP in closed form")
    wide = extend_effects(model, cohort, relationships, individuals)
    covariance = Covariance(wide.terms, wide.residual)
    if cohort.trait_index is not None and wide.residual is not None:
        residuals = residual_trait_term(cohort)
        covariance = Covariance((*wide.terms, residuals), None)
    c, sigmas = coefficients(covariance, variances)
    V = covariance.dense(c)
    factor = scipy.linalg.cho_factor(V, lower=True)
    half = scipy.linalg.cho_solve(factor, cohort.X)
    normal = cohort.X.T @ half
    beta = np.linalg.solve(normal, half.T @ cohort.y)
    x = scipy.linalg.cho_solve(factor, cohort.y - cohort.X @ beta)
    genetic = [term for term in wide.terms if term.genetic and term.kernel is not None]
    total = [term.name for term in genetic if term.k == 1]
    total = total if len(total) > 1 else []
    mine = sigmas[: len(wide.terms)]
    prior = prior_variances(wide, genetic, [S[None] for S in mine], total)
    covariances = covariances_with_y(wide.terms, mine, quantities(genetic, total))
    explained = explained_by(V, cohort.X, covariances)
    rows = {}
    for name, cov in covariances.items():
        mean = cov @ x
        sd = np.sqrt(np.maximum(prior[name] - explained[name], 0.0))
        reliability = ratio(explained[name], prior[name])
        rows[name] = (mean, sd, mean - 1.96 * sd, mean + 1.96 * sd, reliability)
    found = table(wide, cohort, rows)
    found.attrs["beta"] = beta.tolist()
    return found


def coefficients(
    covariance: Covariance, variances: Mapping[str, ArrayLike]
) -> tuple[Floats, list[Floats]]:
    """Return the coefficients c of a covariance and Σ of every term, from variances by name."""
    names = [term.name for term in covariance.terms]
    names += [] if covariance.residual is None else ["residual"]
    if set(names) != set(variances):
        raise InputError(
            f"variances of {', '.join(variances) or 'nothing'}",
            f"one for each of {', '.join(names)}",
            "give them by these names",
        )
    sigmas, entries = [], []
    for term in covariance.terms:
        S = np.asarray(variances[term.name], dtype=np.float64).reshape(-1)
        if S.size != term.k**2:
            raise InputError(
                f"{S.size} variances of {term.name}",
                f"a matrix ({term.k}, {term.k}) of {', '.join(term.columns)}",
                "give variances and covariances",
            )
        sigmas.append(S.reshape(term.k, term.k))
        entries += [sigmas[-1][i, j] for i, j in term.pairs]
    if covariance.residual is not None:
        rest = np.asarray(variances["residual"], dtype=np.float64)
        entries += list(np.broadcast_to(rest, covariance.classes))
    return np.array(entries), sigmas
