"""The seam: what a density of the records has to do, whatever is behind it.

    y | β, c ~ N(Xβ, V(c))        every random effect integrated out

Engines, posterior, comparison, checks and calibration call these verbs and never ask which kind of
density they hold. `KernelMarginal` (one kernel in its eigenbasis, one trait or several),
`DenseMarginal` (any terms, one Cholesky factorisation an evaluation) and `IncompleteMarginal`
(several traits, values missing) implement them; a further one needs nothing else to be known to
all engines. c are the density's arguments beyond β, a list: of one kernel (σ²_u, σ²_e), of several
traits G and R, of several terms the coefficients of V. Draws of them have a leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

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

BLOCK = 250  # draws at a time


class Prediction(NamedTuple):
    """A block of draws: which, and mean and deviation of every effect, each (draws, levels)."""

    where: Codes
    mean: Effects
    deviation: Effects


class Marginal(Protocol):
    """A normal density of n records with its random effects integrated out."""

    @property
    def name(self) -> str:
        """What models call it: "spectral_normal"."""

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
        """The trait of every record (n,); zeros of one trait."""

    @property
    def effect_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the effects that have a covariance in common, term by term."""

    @property
    def effect_names(self) -> tuple[str, ...]:
        """Components of the random effects, as `random_effects` has them."""

    @property
    def part_names(self) -> tuple[str, ...]:
        """The random parts of the records that `realised` tells apart."""

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum where two variances of one trait are all of c; else None."""

    @property
    def expensive(self) -> bool:
        """Is an evaluation worth a thread?"""

    @property
    def signature(self) -> str:
        """Shapes of β, c and y, as NumPy's generalised functions write them: "(p),(c)->(n)"."""

    def rotate(self, y: Floats) -> Floats:
        """Rotate y (n,) to what `logp_gradient` takes; done once for each phenotype."""

    def logp_gradient(self, rotated: Floats, beta: Floats, *c: Floats) -> tuple[Any, ...]:
        """log p(y | β, c), ∂/∂β, and ∂/∂c of each; -inf and zeros where V is not definite."""

    @property
    def compiled(self) -> tuple[str, tuple[Floats, ...]] | None:
        """Name and constants of a Numba version of `logp_gradient`; None where there is none."""

    def quadratic(self, y: Floats) -> Quadratic:
        """``c → log p(y | β, c)`` as a quadratic in β; None where V is not definite."""

    def gradient(self, y: Floats) -> Gradient | None:
        """``(c, mean, factor) → log p(y | c)``, β ~ N(mean, factor factorᵀ), with ∂/∂c.

        None where finite differences are cheaper.
        """

    def solve(self, c: Parameters, r: Floats) -> Floats:
        """``V(c_i)⁻¹ r_i`` for rows r (draws, n) and draws of c."""

    def random_effects(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[tuple[Codes, Effects]]:
        """Draw every random effect given y and draws of β (draws, p) and c, block by block."""

    def realised(
        self, y: Floats, beta: Floats, c: Parameters, rng: np.random.Generator, block: int = BLOCK
    ) -> Iterator[Realised]:
        """Draw what the effects realise in the records, for `realised_pve`."""

    def genetic_mean(self, y: Floats, beta: Floats, c: Parameters) -> list[Floats]:
        """E[g | y, β, c] at the records of each trait, (draws, records)."""

    def simulate(
        self, beta: Floats, c: Parameters, rng: np.random.Generator
    ) -> tuple[Floats, list[TraitParts]]:
        """Draw y (n,) at one β (p,) and c; also return the parts that it is the sum of."""

    def sigmas(self, c: Parameters) -> tuple[list[Floats], Floats]:
        """Σ_t (draws, k, k) of every term, and the residual variances (draws, classes)."""

    def terms(
        self, cohort: Cohort, relationships: Mapping[str, Relationship]
    ) -> tuple[tuple[Term, ...], Codes | None]:
        """The terms, and the class of the residual variance of each record.

        None for the second where a term stands for the residual.
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
        """Draw the effects of terms whose levels go beyond the records'.

        Mean and deviation apart: u = E[u | y, β, c] + d, where d does not depend on y.
        """

    @property
    def complete(self) -> bool:
        """Does every individual have every trait?"""

    def in_own_basis(self, y: Floats, *traits: int) -> tuple[Spectrum, Floats] | None:
        """Spectrum and rotated records (p + k, T) of the individuals that have all of `traits`.

        None where they have no one kernel and design in common, or are too few.
        """

    def contrasts(self, y: Floats) -> Contrasts | None:
        """Return the error contrasts of one trait; None of several."""

    def conditionals(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> Conditionals:
        """Records given all others, at draws of c, β ~ N(mean, factor factorᵀ) or flat (None)."""

    def without(
        self,
        y: Floats,
        c: Parameters,
        mean: Floats,
        factor: Floats | None,
        blocks: Blocks,
        workers: int = 1,
    ) -> tuple[Floats, list[Conditionals | None]]:
        """log p(y_-F | c) at draws of c (draws,), and y_F given y_-F; -inf and None at an edge."""

    def subset(self, records: Codes) -> Marginal | None:
        """The density of some records; None where X has not full column rank among them."""

    def constant_data(self, y: Floats) -> dict[str, tuple[tuple[str, ...], Any]]:
        """What a fit keeps of the density: the design, and of a spectrum its contrasts."""
