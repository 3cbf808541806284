"""PyMC: `polygenic`, genetic values as parameters, through a Cholesky-type factor of the kernel."""

from __future__ import annotations

from typing import Any

import pymc as pm
import pytensor
import pytensor.tensor as pt

from bayeslmm.numerics.arrays import Floats


def polygenic(name: str, variance: Any, factor: Floats, dims: str = "individual") -> Any:
    """Register the latent genetic value ``g = σ_u L z``, z ~ N(0, I): Var(g) = σ²_u L Lᵀ.

    Parameters
    ----------
    name
        Name of g; ``g`` by contract. The whitened values are called ``name + "_z"``.
    variance
        σ²_u, a scalar of the model.
    factor
        L (n, r), from `kernel_cholesky`.
    dims
        Dimension of g.
    """
    z = pm.Normal(f"{name}_z", 0.0, 1.0, shape=factor.shape[1])
    L = pytensor.shared(factor, name=f"{name}_factor")  # compiled code would keep a constant
    g = pm.Deterministic(name, pt.sqrt(variance) * (L @ z), dims=dims)
    g.tag.factor = factor
    return g
