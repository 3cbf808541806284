"""PyMC: `spectral_normal`, one kernel in its eigenbasis, genetic values integrated out.

y | β, σ² ~ N(Xβ, σ²_u K + σ²_e I)
"""

from __future__ import annotations

from typing import Any

import pymc as pm

from bayeslmm.distributions.marginal import observe
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats


def spectral_normal(
    name: str,
    beta: Any,
    variance: Any,
    *,
    spectrum: Spectrum,
    observed: Floats,
    dims: str | None = "individual",
) -> Any:
    """Register ``y ~ N(Xβ, σ²_u K + σ²_e I)`` with g integrated out, in the model on the stack.

    Parameters
    ----------
    name
        Name of the observed variable; ``phenotype`` by contract.
    beta
        β (p,): a random variable of the model.
    variance
        (σ²_u, σ²_e) (2,).
    spectrum
        Spectrum of K and X among the individuals (`bayeslmm.likelihood.decompose.spectrum`).
    observed
        y (n,).
    dims
        Dimension of y.

    Returns
    -------
    TensorVariable
        The observed random variable; `set_phenotype` replaces y.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> from bayeslmm.likelihood.decompose import decompose
    >>> rng = np.random.default_rng(1)
    >>> Z = rng.standard_normal((20, 50))
    >>> S = decompose(Z @ Z.T / 50, np.ones((20, 1)))
    >>> with pm.Model() as model:
    ...     beta = pm.Normal("beta", 0, 10, shape=1)
    ...     variance = pm.HalfNormal("variance", 1, shape=2)
    ...     y = spectral_normal("phenotype", beta, variance, spectrum=S,
    ...                         observed=rng.standard_normal(20), dims=None)
    """
    components = pm.modelcontext(None).coords.get("component") or ("additive",)
    marginal = KernelMarginal(spectrum.together(1), 1, (str(components[0]),), matrices=False)
    return observe(name, marginal, [beta, variance], observed, dims)
