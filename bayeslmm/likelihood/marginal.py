"""The protocol of a marginal density of the records.

    y | β, c ~ N(Xβ, V(c))        every random effect integrated out

Engines, posterior, comparison, checks and calibration call these methods and do not depend on the
class of the density. `KernelMarginal` (one kernel in its eigenbasis, one or several traits),
`DenseMarginal` (any terms, one Cholesky factorisation per evaluation) and `IncompleteMarginal`
(several traits with missing values) implement the protocol; any further class that does works with
all engines. c is the list of the density's arguments other than β: (σ²_u, σ²_e) for one kernel, G
and R for several traits, the coefficients of V for several terms. Draws have a leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bayeslmm.likelihood.explained import Sums
from bayeslmm.likelihood.fixed_effects import BetaQuadratic
from bayeslmm.likelihood.realised import Realised, TraitParts
from bayeslmm.numerics.arrays import Codes, Floats

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.blocks import Blocks, Conditionals
    from bayeslmm.likelihood.contrasts import Contrasts
    from bayeslmm.likelihood.spectrum import Spectrum
    from bayeslmm.likelihood.terms import Term
    from bayeslmm.relationship.relationship import Relationship

type Effects = dict[str, Floats]  # by component, (draws, levels)
type Parameters = Sequence[Floats]
type Quadratic = Callable[[Parameters], BetaQuadratic | None]
type Gradient = Callable[[Parameters, Floats, Floats | None], tuple[float, list[Floats]]]

BLOCK = 250  # number of draws per block


class Prediction(NamedTuple):
    """A block of draws: positions, and mean and deviation (draws, levels) of every effect."""

    where: Codes
    mean: Effects
    deviation: Effects


class Marginal(Protocol):
    """A normal density of n records with its random effects integrated out."""

    @property
    def name(self) -> str:
        """Name of the density in model files: "spectral_normal"."""

    @property
    def n(self) -> int:
        """Number of records."""

    @property
    def p(self) -> int:
        """Number of fixed effects."""

    @property
    def design(self) -> Floats:
        """X (n, p)."""

    @property
    def traits(self) -> int:
        """Number of traits T."""

    @property
    def trait_index(self) -> Codes:
        """The trait of every record (n,); zeros with one trait."""

    @property
    def effect_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the effects that share a covariance matrix, term by term."""

    @property
    def effect_names(self) -> tuple[str, ...]:
        """Names of the random effects in `random_effects`."""

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the random parts of the records in `realised`."""

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum, if c holds just two variances of one trait; else None."""

    @property
    def expensive(self) -> bool:
        """Whether an evaluation is worth a thread."""

    @property
    def signature(self) -> str:
        """Shapes of β, c and y as a signature of NumPy's generalised functions: "(p),(c)->(n)"."""

    def rotate(self, y: Floats) -> Floats:
        """Rotate y (n,) for `logp_gradient`, once for each phenotype."""

    def logp_gradient(self, rotated: Floats, beta: Floats, *c: Floats) -> tuple[Any, ...]:
        """Compute log p(y | β, c), ∂/∂β and ∂/∂c; -inf and zeros if V is not definite."""

    @property
    def compiled(self) -> tuple[str, tuple[Floats, ...]] | None:
        """Name and constants of a Numba version of `logp_gradient`; None if there is none."""

    def quadratic(self, y: Floats) -> Quadratic:
        """Return ``c → log p(y | β, c)`` as a quadratic in β; None if V is not definite."""

    def gradient(self, y: Floats) -> Gradient | None:
        """Return ``(c, mean, factor) → log p(y | c)`` with ∂/∂c, β ~ N(mean, factor factorᵀ).

        None if finite differences are cheaper.
        """

    def solve(self, c: Parameters, r: Floats) -> Floats:
        """Compute ``V(c_i)⁻¹ r_i`` for rows r (draws, n) and draws of c."""

    def random_effects(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[tuple[Codes, Effects]]:
        """Draw every random effect given y and draws of β (draws, p) and c, block by block."""

    def realised(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Realised]:
        """Draw the contributions of the effects to the records, for `realised_pve`."""

    def genetic_mean(self, y: Floats, beta: Floats, c: Parameters) -> list[Floats]:
        """Compute E[g | y, β, c] (draws, records) at the records of each trait."""

    def simulate(
        self, beta: Floats, c: Parameters, rng: np.random.Generator
    ) -> tuple[Floats, list[TraitParts]]:
        """Simulate y (n,) at one β (p,) and c; also return the parts that sum to y."""

    def sigmas(self, c: Parameters) -> tuple[list[Floats], Floats]:
        """Return Σ_t (draws, k, k) of every term and the residual variances (draws, classes)."""

    def terms(
        self, cohort: Cohort, relationships: Mapping[str, Relationship]
    ) -> tuple[tuple[Term, ...], Codes | None]:
        """Return the terms, and the residual variance class of each record.

        The second is None if the residual is a term.
        """

    def predict(
        self,
        y: Floats,
        beta: Floats,
        c: Parameters,
        terms: Sequence[Term],
        rng: np.random.Generator,
        block: int = BLOCK,
    ) -> Iterator[Prediction]:
        """Draw the effects of terms that also have levels without records.

        Mean and deviation are separate: u = E[u | y, β, c] + d, where d does not depend on y.
        """

    def explained(
        self, c: Parameters, terms: Sequence[Term], sums: Sums
    ) -> Iterator[dict[str, Floats]]:
        """Yield the variance (levels,) of sums of effects that the records explain, by draw.

        β is unknown with a flat prior, as in Henderson's equations
        (`bayeslmm.likelihood.explained`).
        """

    @property
    def complete(self) -> bool:
        """Whether every individual has every trait."""

    def in_own_basis(self, y: Floats, *traits: int) -> tuple[Spectrum, Floats] | None:
        """Return spectrum and rotated records (p + k, T) of the individuals with all of `traits`.

        None if the traits do not share one kernel and design, or the individuals are too few.
        """

    def contrasts(self, y: Floats) -> Contrasts | None:
        """Return the error contrasts of one trait; None with several traits."""

    def conditionals(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> Conditionals:
        """Compute records given all others at draws of c, β ~ N(mean, factor factorᵀ) or flat."""

    def without(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> tuple[Floats, list[Conditionals | None]]:
        """Compute log p(y_-F | c) and y_F given y_-F at draws of c; -inf, None on the boundary."""

    def subset(self, records: Codes) -> Marginal | None:
        """Return the density of a subset of the records; None if their X is rank deficient."""

    def constant_data(self, y: Floats) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return the constants that a fit stores: design and, with a spectrum, contrasts."""
