"""Comparison of the posterior of h² with REML and Haseman-Elston, ours, GCTA's and GEMMA's.

Every estimate refers to a matrix K: ``Var(y) = σ²_u K + σ²_e I``, ``h² = σ²_u / (σ²_u + σ²_e)``.
`bayeslmm.estimates.estimate` converts h² from the scale of one matrix to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayeslmm.checks.agreement_traits import trait_agreement
from bayeslmm.checks.disagreement import disagreements
from bayeslmm.checks.external_scale import external_estimate, kernels_of
from bayeslmm.checks.simple_models import coefficients, contrasts_of
from bayeslmm.distributions.phenotype import observed_phenotype
from bayeslmm.errors import InputError
from bayeslmm.estimates.estimate import Estimate, Z
from bayeslmm.estimates.external import External, read_external
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel, haseman_elston_several
from bayeslmm.estimates.reml import reml_one_kernel, reml_several
from bayeslmm.inference.quantities import h2_dims
from bayeslmm.models.family import recorded_family, require_gaussian
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.files import PathArg

if TYPE_CHECKING:
    import pymc as pm


COLUMNS = ["source", "h2", "se", "lower", "upper", "scale", "h2_here", "note"]
GROUP = "agreement"


def agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> pd.DataFrame:
    """Compare the posterior of h² with REML, Haseman-Elston and estimates of other programs.

    Parameters
    ----------
    tree
        A fit of one trait, or of several traits and one kernel
        (`bayeslmm.checks.agreement_traits`).
    external
        Estimates of one trait by other programs: files (GCTA's ``.hsq``, GEMMA's ``.log.txt``) or
        results of `read_external`.
    model
        Needed for several kernels if the tree is a copy or was read from a file, unless the tree
        keeps the estimates (`add_agreement`).
    prob
        Probability of the posterior interval.

    Returns
    -------
    DataFrame
        ``source h2 se lower upper scale h2_here note``: each estimate on its own scale, and
        h2_here on the scale of the posterior. A warning reports each difference larger than its
        uncertainty. For several traits ``quantity source estimate se lower upper note``.

    Raises
    ------
    InputError
        If the tree has no h² or the phenotype is not Gaussian, if `external` is given with several
        traits, or if a file cannot be read.
    """
    from bayeslmm.errors import warn_user

    if "trait" in (h2_dims(tree) or ()):
        if external:
            raise InputError(
                "estimates of other programs with a fit of several traits",
                "a fit of one trait",
                "fit the traits one by one, or leave the files out",
            )
        return trait_agreement(tree, model=model, prob=prob)

    found = estimates(tree, external, model=model, prob=prob)
    for message in disagreements(found):
        warn_user(message)
    return as_table(found)


def as_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """Return the estimates as the table of `agreement`."""
    rows = [{**asdict(one), "h2_here": one.h2_here} for one in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def estimates(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """Return the estimates of `agreement`: posterior, REML, Haseman-Elston, other programs."""
    require_gaussian(recorded_family(tree.attrs), "estimates by REML and Haseman-Elston")
    if h2_dims(tree) != ("chain", "draw"):
        raise InputError(
            "a tree of several traits, or without a posterior of h²",
            "a fit of one trait with one h²",
            "give the tree of each trait by itself: tree['TRAIT']",
        )
    kernels = kernels_of(tree)
    scale = _scale_words(kernels)
    kept = estimates_of(tree)
    own = [one for one in kept or () if one.source in ("REML", "Haseman-Elston")]
    if not own:
        own = [replace(one, scale=scale) for one in own_estimates(tree, model)]
    others: list[Estimate] = []
    for one in external:
        read = [one] if isinstance(one, External) else read_external(one)
        others += [external_estimate(each, tree, kernels, model) for each in read]
    if not external:
        others = [one for one in kept or () if one.source.startswith(("GCTA", "GEMMA"))]
    return [_posterior(tree, prob, scale), *own, *others]


def _posterior(tree: xr.DataTree, prob: float, scale: str) -> Estimate:
    from bayeslmm.posterior.summary import describe, exact_share

    if (share := exact_share(tree)) is not None:
        (mean, sd), (lower, upper) = share.moments(), share.hdi(prob)
    else:
        h2 = tree["posterior"]["h2"].transpose("chain", "draw").to_numpy()
        row = describe(h2, "h2", prob)
        mean, sd, lower, upper = (float(row[key]) for key in ("mean", "sd", "lower", "upper"))
    note = f"mean, sd and {100 * prob:g} % interval of the posterior"
    return Estimate("posterior", mean, sd, lower, upper, scale, 1.0, note)


@one_thread()
def own_estimates(tree: xr.DataTree, model: pm.Model | None = None) -> list[Estimate]:
    """Compute REML and Haseman-Elston; an empty list without a model of `simple_models`."""
    constants = tree["constant_data"].to_dataset()
    components = tree["posterior"].sizes["component"]
    if "eigenvalue" in constants and "contrasts" in constants and components == 2:
        s, e = constants["eigenvalue"].to_numpy(), constants["contrasts"].to_numpy()
        reml, he = reml_one_kernel(s, e), haseman_elston_one_kernel(s, e)
    else:
        from bayeslmm.inference.fitted import model_of

        try:
            model = model_of(tree, model)
            contrasts, start = contrasts_of(model), coefficients(model, tree).mean(axis=0)
        except InputError:
            return []
        form = contrasts.form
        if form is None:
            return []
        genetic = np.array([*(term.genetic for term in form.covariance.terms), False])
        rotated = form.rotate(observed_phenotype(model))
        reml = reml_several(form, rotated, start, genetic)
        he = haseman_elston_several(form, rotated, genetic)
    edge = "" if not reml.at_edge else "; a variance is at its edge: the interval means nothing"
    rough = "" if reml.converged else "; the search did not end at a maximum"
    return [
        _usual("REML", reml.h2, reml.se, f"restricted maximum likelihood{edge}{rough}"),
        _usual("Haseman-Elston", he.h2, he.se, "regression of products of pairs on relationship"),
    ]


def _usual(source: str, h2: float, se: float, note: str) -> Estimate:
    return Estimate(source, h2, se, h2 - Z * se, h2 + Z * se, "", 1.0, note)


def _scale_words(kernels: list[dict[str, Any]]) -> str:
    if all(one.get("kernel_scale") == "asv" for one in kernels):
        return "average semivariance one among the individuals analysed"
    return "the matrix as it is"


def add_agreement(
    tree: xr.DataTree,
    external: Sequence[PathArg | External] = (),
    *,
    model: pm.Model | None = None,
    prob: float = 0.95,
) -> list[Estimate]:
    """Store the estimates in the group ``agreement`` of a fit of one trait, for its report."""
    found = estimates(tree, external, model=model, prob=prob)
    columns = {name: [getattr(one, name) for one in found] for name in Estimate.__slots__}
    tree[GROUP] = xr.DataTree(xr.Dataset({name: ("estimate", v) for name, v in columns.items()}))
    return found


def estimates_of(tree: xr.DataTree) -> list[Estimate] | None:
    """Return the estimates stored by `add_agreement`, or None."""
    if GROUP not in tree.children:
        return None
    data = tree[GROUP].to_dataset()
    texts = ("source", "scale", "note")
    columns = {
        name: [str(x) if name in texts else float(x) for x in data[name].to_numpy().tolist()]
        for name in Estimate.__slots__
    }
    return [Estimate(*row) for row in zip(*columns.values(), strict=True)]
