"""PyMC: `multi_trait_normal`, T traits with one kernel, genetic values integrated out.

y | β, G, R ~ N((I_T ⊗ X) β, G ⊗ K + R ⊗ I)        y = [Y_1; ...; Y_T], β = [B_1; ...; B_T]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm

from bayeslmm.distributions.marginal import observe
from bayeslmm.errors import InputError
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats


def multi_trait_normal(
    name: str,
    beta: Any,
    genetic: Any,
    residual: Any,
    *,
    spectrum: Spectrum,
    observed: Floats,
    dims: str | None = "individual",
) -> Any:
    """Register ``y ~ N((I ⊗ X)β, G ⊗ K + R ⊗ I)`` with U integrated out, in the model on the stack.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    beta
        β (pT,), stacked trait by trait: a random variable of the model.
    genetic, residual
        G and R (T, T), covariance matrices: random variables of the model.
    spectrum
        Spectrum of K and X among the n individuals, which all have all T traits.
    observed
        y (nT,), stacked trait by trait.
    dims
        Dimension of y.

    Returns
    -------
    TensorVariable
        The observed random variable; `set_phenotype` replaces y.

    Raises
    ------
    InputError
        If y does not hold every trait of every individual.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pytensor.tensor as pt
    >>> from bayeslmm.likelihood.decompose import decompose
    >>> rng = np.random.default_rng(1)
    >>> Z = rng.standard_normal((20, 50))
    >>> S = decompose(Z @ Z.T / 50, np.ones((20, 1)))
    >>> with pm.Model() as model:
    ...     beta = pm.Normal("beta", 0, 10, shape=2)
    ...     G = pt.diag(pm.HalfNormal("genetic", 1, shape=2))
    ...     R = pt.diag(pm.HalfNormal("residual", 1, shape=2))
    ...     y = multi_trait_normal("phenotype", beta, G, R, spectrum=S,
    ...                            observed=rng.standard_normal(40), dims=None)
    """
    observed = np.asarray(observed, dtype=np.float64)
    n = spectrum.n
    if observed.ndim != 1 or observed.size == 0 or observed.size % n:
        raise InputError(
            f"y of the shape {observed.shape} for {n} individuals",
            f"all values of trait 1, then of trait 2, ...: (T × {n},)",
            "take the individuals with all traits, or a model that allows missing ones",
        )
    traits = observed.size // n
    named = pm.modelcontext(None).coords.get("trait") or tuple(range(1, traits + 1))
    effects = tuple(f"additive:{trait}" for trait in named)
    marginal = KernelMarginal(spectrum.together(traits), traits, effects, matrices=True)
    return observe(name, marginal, [beta, genetic, residual], observed, dims)
