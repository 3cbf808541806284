"""Prior of the shares of variance of K components, the same for the total for any K.

    s = (e w_1, …, e w_K, 1 - e)      e ~ Beta(a, b),   w ~ Dirichlet(α, …, α)

e is the share that all kernels explain together (h² when all are genetic); w divides it among them.
With the defaults e is uniform on [0, 1] for any K, and w is uniform on the simplex, so every share
has positive density at zero. A flat Dirichlet on s would not do: with 19 chromosomes it would
expect h² at 0.95. For K = 1 this is the prior of `variance_shares`.

References
----------
Fuglstad et al. (2020) Bayesian Anal 15:1109 (hierarchical decomposition of variance); Zhang et al.
(2022) J Am Stat Assoc 117:862 (R2-D2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform
from scipy.special import betaln, gammaln


class LogRatio(Transform):
    """Additive log-ratio transform of a simplex, ``u_k = log(s_k / s_last)``.

    A share that goes to zero moves only its own coordinate, which suits samplers.
    """

    name = "logratio"
    ndim_supp = 1

    def forward(self, value: Any, *inputs: Any) -> Any:
        """Map shares to log-ratios."""
        return pt.log(value[..., :-1]) - pt.log(value[..., -1])[..., None]

    def backward(self, value: Any, *inputs: Any) -> Any:
        """Map log-ratios to shares."""
        z = pt.concatenate([value, pt.zeros_like(value[..., :1])], axis=-1)
        e = pt.exp(z - pt.max(z, axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        """Return ``log |∂s/∂u| = Σ log s_k`` over all shares."""
        z = pt.concatenate([value, pt.zeros_like(value[..., :1])], axis=-1)
        top = pt.max(z, axis=-1, keepdims=True)
        log_sum = top[..., 0] + pt.log(pt.exp(z - top).sum(axis=-1))
        return z.sum(axis=-1) - z.shape[-1] * log_sum


def shares(
    name: str,
    explained: tuple[float, float],
    concentration: float,
    count: int,
    dims: str = "component",
) -> Any:
    """Register the shares of `count` kernels and the residual.

    Parameters
    ----------
    name
        Name of the variable.
    explained
        (a, b) of the Beta prior of e.
    concentration
        α of the Dirichlet prior of w; 1 is uniform.
    count
        K, the number of kernels.
    dims
        Dimension of size K + 1.

    Returns
    -------
    TensorVariable
        s (K + 1,).
    """
    (a, b), alpha = explained, np.full(count, float(concentration))
    constant = float(gammaln(alpha.sum()) - gammaln(alpha).sum() - betaln(a, b))

    def density(value: Any, *_: Any) -> Any:
        total = value[..., :-1].sum(axis=-1)
        out = constant + _power(total, a - 1 - (alpha.sum() - 1)) + _power(value[..., -1], b - 1)
        return out + _power(value[..., :-1], concentration - 1).sum(axis=-1)

    def draw(first: Any, second: Any, weights: Any, size: Any = None) -> Any:
        e = pm.Beta.dist(first, second, size=size)
        w = pm.Dirichlet.dist(weights, size=size)
        return pt.concatenate([e[..., None] * w, (1 - e)[..., None]], axis=-1)

    return pm.CustomDist(
        name,
        *(np.float64(a), np.float64(b), alpha),
        dist=draw,
        logp=density,
        dims=dims,
        transform=LogRatio(),
        signature="(),(),(k)->(l)",
    )


def _power(x: Any, exponent: float) -> Any:
    """Return ``exponent · log x``; for a zero exponent 0, also where x = 0."""
    return exponent * pt.log(pt.maximum(x, 1e-300)) if exponent else pt.zeros_like(x)
