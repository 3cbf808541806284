# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can the intervals be believed?
#
# A 95 % interval promises something that can be checked: simulate data sets whose truth is known,
# compute the interval of each, and count. This notebook does it three ways, from the cheap to the
# thorough:
#
# 1. coverage of the interval of h², for one relationship matrix, from its eigenvalues alone;
# 2. the committed tables of four designs, and how to make each of them again;
# 3. simulation-based calibration of a whole model file, which also sees bugs that coverage
#    does not.
#
# The same things are commands: `bayeslmm coverage`, `bayeslmm power`, `bayeslmm calibrate`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm

import bayeslmm as bl

# %% [markdown]
# ## 1. Coverage for your own matrix
#
# 300 people in families of two parents and three children. Everything that coverage depends on is
# in the eigenvalues of their kernel, with the intercept projected out:
#
# $$ \ell(h^2) = -\tfrac12\Big[m \log \sum_i e_i^2/d_i + \sum_i \log d_i\Big],
#    \qquad d_i = h^2 s_i + 1 - h^2 $$

# %%
grm = bl.compute_grm(bl.simulate_cohort(n=300, m=1500, families=True, seed=11).genotypes)
y = np.random.default_rng(11).standard_normal(300)  # any: the eigenvalues do not depend on it
cohort = bl.cohort_from_arrays(y, individuals=grm.individuals, trait="y")
spectrum = bl.compute_spectrum(cohort, grm)

truths = (0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
table = bl.estimate_coverage(spectrum.eigenvalues, truths, reps=1000, prior_reps=4000)
wide = table.pivot(index="h2", columns="method", values="coverage").loc[[*truths, "prior"]]
wide.round(3)

# %% [markdown]
# Three methods: the highest density interval (HDI) and the equal-tailed interval (ETI) of our exact
# posterior, and what most programs report, the REML estimate ± 1.96 standard errors.
#
# *Averaged over the prior* a correct posterior covers with exactly its nominal probability,
# whatever the design and however few the data. There is no fudge in this number: it is the test.

# %%
error = 1.96 * np.sqrt(0.95 * 0.05 / 4000)
assert abs(wide.loc["prior", "hdi"] - 0.95) < 1.5 * error
assert abs(wide.loc["prior", "eti"] - 0.95) < 1.5 * error

# %% [markdown]
# *At one value of h²* no Bayesian interval promises 95 %. It may be more or less, and an
# equal-tailed interval can never hold h² = 0, because it leaves 2.5 % on either side. That is why
# the interval of h² is an HDI here.

# %%
assert wide.loc[0.0, "eti"] == 0.0
assert wide.loc[list(truths), "hdi"].min() > 0.88

# %% tags=["picture"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
for method, name in (("hdi", "HDI"), ("eti", "ETI"), ("reml_wald", "REML ± 1.96 SE")):
    rows = table[(table["method"] == method) & (table["h2"] != "prior")]
    axes[0].plot(rows["h2"].astype(float), rows["coverage"], "o-", label=name)
    axes[1].plot(rows["h2"].astype(float), rows["width"], "o-", label=name)
axes[0].axhline(0.95, color="grey", lw=1)
axes[0].set(xlabel="true h²", ylabel="coverage", ylim=(0.8, 1.01))
axes[1].set(xlabel="true h²", ylabel="mean width", ylim=(0, None))
axes[1].legend()
plt.show()

# %% [markdown]
# ## 2. Before there are data
#
# The same simulation says what a study can find. `p_excludes_0` is the probability that the 95 %
# interval begins above 0, `p_rlrt` that the exact restricted likelihood ratio test rejects h² = 0.

# %%
power = bl.expected_power(spectrum.eigenvalues, (0.0, 0.1, 0.2, 0.3, 0.5), reps=500)
assert power["p_rlrt"].iloc[0] < 0.09  # the level of the test, 5 %, within its Monte Carlo error
assert power["p_rlrt"].is_monotonic_increasing
power.round(3)

# %% [markdown]
# ## 3. The committed tables
#
# Four designs, 20 000 simulated data sets for every true h². They are made again by
#
# ```sh
# uv run python tests/calibration/coverage_tables.py
# ```
#
# and stand, with the standard errors of REML beside them, in `tests/calibration/coverage.md`.

# %%
folder = Path(bl.__file__).parents[1] / "tests" / "calibration"
designs = {path.stem.removeprefix("coverage_"): path for path in folder.glob("coverage_*.tsv")}
tables = {name: pd.read_csv(path, sep="\t") for name, path in sorted(designs.items())}
averaged = pd.DataFrame(
    {
        name: one[one["h2"] == "prior"].set_index("method")["coverage"]
        for name, one in tables.items()
    }
).T
assert set(averaged.index) == {"families", "inbred", "msprime", "unrelated"}
assert (averaged[["hdi", "eti"]] - 0.95).abs().max().max() < 0.005
averaged.round(4)  # over the prior

# %% [markdown]
# In every design the posterior's intervals hold the truth in 95 of 100 data sets. REML ± 1.96 SE
# covers more than it says for a thousand unrelated people, where its standard error is too large
# by half near 0 and 1, and its interval is wider than ours.

# %%
unrelated = tables["unrelated"].set_index(["h2", "method"])
assert unrelated.loc[("prior", "reml_wald"), "width"] > unrelated.loc[("prior", "hdi"), "width"]
unrelated.loc["prior", ["coverage", "width", "bias"]].round(3)

# %% [markdown]
# ## 4. Simulation-based calibration
#
# Coverage looks at h² alone, by one likelihood. Simulation-based calibration takes a *model file*
# as it is. Parameters are drawn from its prior, a phenotype from the model, the posterior from the
# engine; and the true parameters are ranked among the posterior draws. If everything is right
# (density, engine, draws, units) every rank is equally probable (Talts et al. 2018).

# %%
small = bl.models.load("additive")
right = bl.calibrate(small, 100, draws=60, seed=3)
print(right.verdict())
assert right.ok

# %% [markdown]
# The curve of ranks minus the straight line has to stay inside a band that holds the *whole* curve
# with 95 % probability (Säilynoja et al. 2022). Now a sampler with a bug: it ignores the data, and
# draws the parameters from the prior.


# %%
def from_the_prior(model, draws, rng):
    """A posterior that has not seen the data."""
    variables = [*model.free_RVs, *model.deterministics]
    values = pm.draw(variables, draws=draws, random_seed=rng)
    return bl.Replicate({v.name: x for v, x in zip(variables, values, strict=True)})


wrong = bl.calibrate(small, 100, engine=from_the_prior, draws=60, seed=3)
print(wrong.verdict())
assert not wrong.ok

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
for axis, name in zip(axes, ("h2", "log_likelihood"), strict=True):
    for one, label in ((right, "right"), (wrong, "ignores the data")):
        curve = one.ecdf(name).set_index("z")
        difference = curve.sub(curve.index, axis=0)
        axis.plot(difference["proportion"], label=label)
    axis.fill_between(curve.index, difference["lower"], difference["upper"], color="0.9")
    axis.set(title=name, xlabel="normalised rank")
axes[0].set_ylabel("ECDF difference")
axes[1].legend()
plt.show()

# %% [markdown]
# The ranks of h² cannot see it: averaged over the prior, the prior itself is calibrated. The ranks
# of the log likelihood, which depend on the data, can. That is why the command ranks it, and
# max |BLUP|, always.

# %%
seen = wrong.table().set_index("quantity")
assert seen.loc["h2", "inside"]
assert not seen.loc["log_likelihood", "inside"]

# %% [markdown]
# From a shell, with a report, in parallel, and to be interrupted at will:
#
# ```sh
# bayeslmm calibrate --model dominance --n-sims 1000 --out dominance
# bayeslmm calibrate --model ./mine.py --grm study --n-sims 300 --out mine
# ```
#
# The gallery's own results, a thousand simulations a model, are in `tests/calibration/sbc.md`.
#
# ## What simulation does not see
#
# A GRM 2 % too large, or two swapped individuals of 200, are hardly visible in a thousand
# simulations. Such bugs are caught by comparing with independent computations to many digits. To
# show that the tests do catch them, `tests/mutations/run_mutations.py` puts each into a copy of the
# code and runs the tests; `tests/mutations/results.md` says which test saw it.

# %%
results = (folder.parent / "mutations" / "results.md").read_text()
assert "**survives**" not in results
print(results.strip().splitlines()[-1])
