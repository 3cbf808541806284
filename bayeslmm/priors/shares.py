"""Shares of variance of several components: a prior that says the same however many there are.

    s = (e w_1, …, e w_K, 1 - e)      e ~ Beta(a, b),   w ~ Dirichlet(α, …, α)

e is the share that the kernels explain together (h² when all of them are genetic), w how they part
it. With the defaults e is uniform on [0, 1] whatever K is, and w is uniform on the simplex, so
that every single share has density at zero. A flat Dirichlet on s itself would not do: with 19
chromosomes it would expect h² at 0.95. For K = 1 this is the prior of `variance_shares`.

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
    """Additive log-ratio of a simplex, ``u_k = log(s_k / s_last)``.

    A share that goes to zero moves its own coordinate alone, which a sampler likes.
    """

    name = "logratio"
    ndim_supp = 1

    def forward(self, value: Any, *inputs: Any) -> Any:
        """Shares to log-ratios."""
        return pt.log(value[..., :-1]) - pt.log(value[..., -1])[..., None]

    def backward(self, value: Any, *inputs: Any) -> Any:
        """Log-ratios to shares."""
        z = pt.concatenate([value, pt.zeros_like(value[..., :1])], axis=-1)
        e = pt.exp(z - pt.max(z, axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        """``log |∂s/∂u| = Σ log s_k``, over all the shares."""
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
        Of the variable.
    explained
        (a, b) of the Beta prior of the share that the kernels explain together.
    concentration
        α of the Dirichlet prior of how they part it; 1 is uniform.
    count
        K, the number of kernels.
    dims
        Dimension, of the size K + 1.
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
    """``exponent · log x``; 0 for a zero exponent also where x = 0."""
    return exponent * pt.log(pt.maximum(x, 1e-300)) if exponent else pt.zeros_like(x)
