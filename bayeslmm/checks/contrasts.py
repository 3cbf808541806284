"""The error contrasts of a model's phenotype, and what V does to them, in one shape.

With Q (n, m) an orthonormal basis of what X does not reach, ``e = Qᵀy`` and ``QᵀV(c)Q = H Hᵀ``:
of one kernel Q are the eigenvectors and H is diagonal, of several H is a Cholesky factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from bayeslmm.errors import InputError
from bayeslmm.likelihood.dense import DenseForm, beta_quadratic
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.relationship.relationship import row_blocks

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr


@dataclass(frozen=True, slots=True, eq=False)
class Contrasts:
    """Error contrasts of the records that a model holds now.

    Parameters
    ----------
    source
        The spectrum of one kernel, or the matrices of several.
    rotated
        ``Wᵀy`` (n,), as the source has it.
    """

    source: Spectrum | DenseForm
    rotated: Floats

    @property
    def n(self) -> int:
        """Number of records."""
        return self.source.n

    @property
    def cheap(self) -> bool:
        """Does another V cost no factorisation?"""
        return isinstance(self.source, Spectrum)

    @property
    def columns(self) -> slice:
        """Where Q stands in W, and e in Wᵀy."""
        p = self.source.p
        return slice(p, None) if isinstance(self.source, Spectrum) else slice(0, self.n - p)

    @property
    def e(self) -> Floats:
        """The contrasts (m,)."""
        return np.asarray(self.rotated[self.columns])

    def residuals(self) -> Floats:
        """``r = Qe`` (n,), the residuals of least squares."""
        return self.spread(self.e[:, None])[:, 0]

    def spread(self, e: Floats) -> Floats:
        """``Qe`` (n, k) of columns of contrasts (m, k)."""
        return np.asarray(self.source.basis[:, self.columns] @ e)

    def coefficients(self, tree: xr.DataTree, most: int = 1000) -> Floats:
        """Draws (at most `most`, K) of the coefficients of V from a fit of the model.

        Raises
        ------
        InputError
            Where they are not the variances of the components: several effects of a level, or
            components in another order than the terms of the covariance.
        """
        posterior = tree["posterior"].to_dataset()
        variance = posterior["variance"].transpose("chain", "draw", "component").to_numpy()
        draws = np.ascontiguousarray(variance.reshape(-1, variance.shape[-1]))
        if isinstance(self.source, DenseForm):
            covariance = self.source.covariance
            simple = self.source.identity and all(term.k == 1 for term in covariance.terms)
            if not simple or draws.shape[1] != covariance.size:
                raise not_simple("its covariance is not a sum of one variance for each kernel")
            beta = posterior["beta"].transpose("chain", "draw", "covariate").to_numpy()
            density = tree["log_likelihood"]["phenotype"].transpose("chain", "draw", ...)
            there = float(density.to_numpy().reshape(len(draws), -1)[-1].sum())
            found = beta_quadratic(self.source, self.rotated, draws[-1])
            last = beta.reshape(len(draws), -1)[-1]
            if found is None or abs(found.at(last) - there) > 1e-5 * abs(there) + 1e-3:
                raise not_simple("its components are not in the order of its covariance's terms")
        picked = np.linspace(0, len(draws) - 1, min(len(draws), most)).astype(int)
        return np.ascontiguousarray(draws[picked])

    def at(self, c: Floats) -> Whitened:
        """H and what comes of it at the coefficients c (K,)."""
        H: Floats | None
        if isinstance(self.source, Spectrum):
            H = np.sqrt(c[0] * self.source.eigenvalues + c[1])
            return Whitened(self, H, self.e / H)
        m = self.n - self.source.p
        H = self.source.factor(np.ascontiguousarray(c))
        if H is None:
            raise np.linalg.LinAlgError("the covariance is not positive definite")
        H = np.tril(H[:m, :m])
        white = scipy.linalg.solve_triangular(H, self.e, lower=True, check_finite=False)
        return Whitened(self, H, np.asarray(white))


@dataclass(frozen=True, slots=True, eq=False)
class Whitened:
    """Contrasts at given variances.

    Parameters
    ----------
    contrasts
        Of which records.
    H
        Its diagonal (m,), or (m, m) lower triangular.
    white
        ``H⁻¹e`` (m,): independent and standard normal if the model holds.
    """

    contrasts: Contrasts
    H: Floats
    white: Floats

    def half(self, rows: Any) -> Floats:
        """Rows of ``Q H⁻ᵀ`` (rows, m), so that ``P = half halfᵀ``."""
        Q = self.contrasts.source.basis[rows, self.contrasts.columns]
        if self.H.ndim == 1:
            return np.asarray(Q / self.H)
        solved = scipy.linalg.solve_triangular(self.H, Q.T, lower=True, check_finite=False)
        return np.asarray(solved.T)

    def scores(self) -> Floats:
        """``Py`` (n,)."""
        trans = self.white / self.H if self.H.ndim == 1 else scipy.linalg.solve_triangular(
            self.H, self.white, lower=True, trans="T", check_finite=False)  # fmt: skip
        return self.contrasts.spread(np.asarray(trans)[:, None])[:, 0]

    def diagonal(self) -> Floats:
        """``P_ii`` (n,)."""
        out = np.empty(self.contrasts.n)
        for rows in row_blocks(out.size):
            out[rows] = np.sum(self.half(rows) ** 2, axis=1)
        return out

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Contrasts (m, count) of data drawn from the model."""
        z = rng.standard_normal((self.white.size, count))
        return np.asarray(self.H[:, None] * z if self.H.ndim == 1 else self.H @ z)


@one_thread()
def contrasts_of(model: pm.Model) -> Contrasts:
    """The contrasts of a model's current phenotype.

    Raises
    ------
    InputError
        If its phenotype is no marginal normal distribution of one trait.
    """
    from bayeslmm.distributions.dense_normal import DenseNormalRV
    from bayeslmm.distributions.spectral_normal import SpectralNormalRV

    op = model["phenotype"].owner.op
    if isinstance(op, SpectralNormalRV):
        source: Spectrum | DenseForm = op.spectrum
    elif isinstance(op, DenseNormalRV) and op.form.covariance.residual is not None:
        source = op.form
    else:
        raise not_simple("its phenotype is no marginal normal distribution of one trait")
    rotated = np.ascontiguousarray(model["phenotype_rotated"].get_value())
    return Contrasts(source, rotated)


def not_simple(why: str) -> InputError:
    """The error for models that these checks cannot serve."""
    return InputError(
        f"a model that the checks of relatives do not know: {why}",
        "one trait, the random effects integrated out, a variance for each kernel",
        "look at the residuals in the report instead",
    )
