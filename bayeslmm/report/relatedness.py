"""Histogram of a relationship matrix, stored with a fit for its report."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.numerics.arrays import Counts, Floats

if TYPE_CHECKING:
    import xarray as xr

    from bayeslmm.relationship.relationship import Relationship


BINS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Relatedness:
    """Distribution of the entries of a relationship matrix.

    Parameters
    ----------
    edges, counts
        Histogram of the off-diagonal entries, one per pair: (b + 1,) and (b,).
    diagonal_edges, diagonal_counts
        Histogram of the diagonal.
    notes
        Warnings (`bayeslmm.relationship.relatedness.relationship_warnings`).
    name
        Name of the relationship, "additive" for a GRM.
    """

    edges: Floats
    counts: Counts
    diagonal_edges: Floats
    diagonal_counts: Counts
    notes: tuple[str, ...] = ()
    name: str = "additive"

    @property
    def pairs(self) -> int:
        """Number of pairs of individuals."""
        return int(self.counts.sum())


def relatedness(relationship: Relationship, bins: int = BINS) -> Relatedness:
    """Compute the histograms of a relationship matrix.

    Parameters
    ----------
    relationship
        The matrix as analysed (`Relationship.on` the cohort's individuals).
    bins
        Number of bins.
    """
    from bayeslmm.relationship.pair_histogram import pair_histogram, pair_range
    from bayeslmm.relationship.relatedness import relationship_warnings

    matrix, everyone = relationship.matrix, np.arange(relationship.n)
    low, high = pair_range(matrix, everyone)
    edges = _edges(low, high, bins)
    counts = pair_histogram(matrix, everyone, edges)
    diagonal = np.diagonal(matrix)
    diagonal_edges = _edges(float(diagonal.min()), float(diagonal.max()), bins)
    return Relatedness(
        edges,
        counts,
        diagonal_edges,
        np.histogram(diagonal, diagonal_edges)[0].astype(np.int64),
        tuple(relationship_warnings(relationship)),
        relationship.name,
    )


def _edges(low: float, high: float, bins: int) -> Floats:
    if not (np.isfinite(low) and np.isfinite(high)):
        low, high = 0.0, 1.0  # a single individual has no pair
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def add_relatedness(
    tree: xr.DataTree, relationship: Relationship | dict[str, Relationship]
) -> xr.DataTree:
    """Store the histogram of a relationship with a fit, for a report made later.

    Parameters
    ----------
    tree
        A fit of one or of several traits; changed in place.
    relationship
        The relationship for all traits, or a mapping from trait to relationship.

    Returns
    -------
    xarray.DataTree
        The same tree. ``constant_data`` of each trait gets ``relatedness_edges``,
        ``relatedness_counts``, ``relatedness_diagonal_edges`` and ``relatedness_diagonal_counts``;
        its attribute ``relatedness`` (JSON) holds notes and name. If the tree still has its model,
        the checks of relatives (`bayeslmm.report.relatives.add_relative_checks`) are added in the
        group ``relatives``, and REML and Haseman-Elston estimates in ``agreement``.
    """
    from bayeslmm.posterior.summary import trait_trees

    common = None if isinstance(relationship, dict) else relatedness(relationship)
    for trait, one in trait_trees(tree).items():
        if isinstance(relationship, dict):
            if trait not in relationship:
                continue
            found = relatedness(relationship[trait])
        else:
            assert common is not None
            found = common
        data = _constants(one).assign(
            relatedness_edges=("relatedness_edge", found.edges),
            relatedness_counts=("relatedness_bin", found.counts),
            relatedness_diagonal_edges=("relatedness_edge", found.diagonal_edges),
            relatedness_diagonal_counts=("relatedness_bin", found.diagonal_counts),
        )
        data.attrs["relatedness"] = json.dumps({"name": found.name, "notes": list(found.notes)})
        one.children["constant_data"].dataset = data
        mine = relationship[trait] if isinstance(relationship, dict) else relationship
        _check(one, mine)
    return tree


def _check(tree: xr.DataTree, relationship: Relationship) -> None:
    """Add checks of relatives and other estimates, if the tree still has its model.

    Relatives are checked if record i belongs to individual i of the matrix. A non-Gaussian
    phenotype has none of these checks.
    """
    from bayeslmm.checks import agreement
    from bayeslmm.errors import InputError
    from bayeslmm.individuals import labels_of
    from bayeslmm.models.family import recorded_family
    from bayeslmm.report.relatives import GROUP, add_relative_checks

    if not recorded_family(tree.attrs).gaussian:
        return
    labels = [str(x) for x in tree["observed_data"]["individual"].to_numpy()]
    if GROUP not in tree.children and labels == labels_of(relationship.individuals):
        add_relative_checks(tree, relationship, seed=int(tree.attrs.get("seed", 1)))
    if agreement.GROUP not in tree.children:
        with suppress(InputError):  # no h², or several traits without other estimates
            agreement.add_agreement(tree)


def _constants(tree: xr.DataTree) -> xr.Dataset:
    """Return the group ``constant_data`` as a tree without parents."""
    return tree.children["constant_data"].to_dataset(inherit=False)


def relatedness_of(tree: xr.DataTree) -> Relatedness | None:
    """Return the histograms stored by `add_relatedness` with a fit of one trait, or None."""
    if "constant_data" not in tree or "relatedness_edges" not in tree["constant_data"]:
        return None
    data = tree["constant_data"]
    recorded = json.loads(str(data.attrs.get("relatedness", "{}")))
    return Relatedness(
        np.asarray(data["relatedness_edges"].values, dtype=np.float64),
        np.asarray(data["relatedness_counts"].values, dtype=np.int64),
        np.asarray(data["relatedness_diagonal_edges"].values, dtype=np.float64),
        np.asarray(data["relatedness_diagonal_counts"].values, dtype=np.int64),
        tuple(str(note) for note in recorded.get("notes", ())),
        str(recorded.get("name", "additive")),
    )
