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
# # Heritability from genotype files
#
# The whole path: PLINK files → GRM → cohort → a PyMC model → posterior → report. The cohort is
# simulated, so that we know what ought to come out. On the way we read the model file, write one of
# our own, change the prior, and check the quadrature against Markov chains.

# %%
import json
import logging
import tempfile
from pathlib import Path

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from scipy.stats import beta as beta_distribution

import bayeslmm as bl

folder = Path(tempfile.mkdtemp())
logging.getLogger("pymc").setLevel(logging.WARNING)  # PyMC otherwise says what it is sampling

# %% [markdown]
# ## 1. Files
#
# 300 people in nuclear families of two parents and three children, 1 000 variants with linkage
# disequilibrium, and a trait with $h^2 = 0.5$ that also depends on sex and age. Families are
# informative about heritability; as many unrelated people would say far less.

# %%
simulation = bl.simulate_cohort(n=300, m=1000, h2=0.5, families=True, seed=1)
bl.write_simulation(simulation, folder / "study")
print(*sorted(path.name for path in folder.iterdir()))
print(*(folder / "study.pheno").read_text().splitlines()[:3], sep="\n")
print(*(folder / "study.covar").read_text().splitlines()[:3], sep="\n")

# %% [markdown]
# Reading a prefix opens the files; dosages are read block by block when something needs them.
# Quality control counts every variant in one pass and keeps a *ledger* of what it dropped. The
# ledger goes into every result.

# %%
raw = bl.read_genotypes(folder / "study")
bl.count_variants(raw).head(3)

# %%
genotypes = bl.quality_control(raw, maf=0.01, max_missing=0.05)
print(genotypes.ledger)

# %% [markdown]
# ## 2. Relationships
#
# The GRM of everybody who was genotyped, whether or not there is a phenotype. Parents and children,
# and brothers and sisters, share half of their genome; other pairs share nothing, give or take what
# 1 000 variants can tell.

# %%
grm = bl.compute_grm(genotypes)
pairs = grm.matrix[np.tril_indices(grm.n, k=-1)]
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.hist(pairs, bins=120, log=True)
axes.set(xlabel="relationship of a pair", ylabel="pairs (log scale)")
print(f"{(pairs > 0.3).sum()} pairs above 0.3, of {pairs.size}")

# %% [markdown]
# ## 3. The cohort
#
# Phenotype, covariates and GRM are matched by family and individual ID, never by their order in the
# file. An intercept is always there. Fixed effects are all columns of the covariate table, some of
# them (`covariate_names=`), or a formula as here. `C(sex)` makes sex a category rather than a
# number.

# %%
cohort = bl.build_cohort(
    bl.read_phenotypes(folder / "study.pheno"),
    "y",
    individuals=grm.individuals,
    covariates=bl.read_covariates(folder / "study.covar"),
    formula="~ C(sex) + age",
    ledger=genotypes.ledger,
)
print(cohort.n, "individuals; fixed effects:", ", ".join(cohort.covariates))

# %% [markdown]
# ## 4. The model is a file
#
# A model of bayeslmm is a short Python file with one function, `build`. It returns an ordinary
# `pymc.Model`. This is the whole of `additive`:

# %%
print(bl.models.additive.source)

# %% [markdown]
# `build` asks for what it needs by name: the cohort, the relationship called `additive`, and priors
# as keyword arguments. Three names carry the rest of the package: the observed `phenotype`, the
# `variance` components (the residual last), and the fixed effects `beta`.

# %%
model = bl.models.additive(cohort, grm)
model

# %% [markdown]
# ## 5. The posterior
#
# `fit` chooses an engine and says why. With one GRM and Gaussian residuals it is the exact one:
# quadrature over $h^2$ and the total standard deviation, everything else in closed form, then
# independent draws.

# %%
tree = bl.fit(model, draws=4000, seed=1)
print(tree.attrs["engine_reason"])
for name, words in json.loads(tree.attrs["priors"]).items():
    print(f"prior of {name}: {words}")

# %%
table = bl.heritability(tree).set_index("quantity")
table[["mean", "sd", "median", "mode", "lower", "upper", "interval"]].round(3)

# %% [markdown]
# How to read it:
#
# - `h2` is the *model* heritability $\sigma_u^2/(\sigma_u^2 + \sigma_e^2)$, a parameter. Its
#   interval is the shortest one (HDI), because an equal-tailed interval can never contain zero.
# - `pve_*` are *realised*: sample variances of $X\beta$, of $g$ and of their sum, over that of $y$,
#   in every draw. Age and sex take their part of var(y), so `pve_random` is below `h2`.
# - `pve_share[...]` is the same decomposition with the covariance as a part of its own; the four
#   shares add to one in every draw.
# - the last rows are not draws: the probability that $h^2 < 0.01$, the Bayes factor in favour of
#   $h^2 = 0$ (log10, so -2 is a hundred to one against it), the p-value of the exact restricted
#   likelihood ratio test, and the standard error one can expect at this sample size.
#
# Against the truth. The heritability was 0.5; the sample that was drawn has its own realised PVE.

# %%
rows = ["h2", "pve_fixed", "pve_random", "pve_total"]
against = table.loc[rows, ["mean", "sd", "lower", "upper"]].assign(
    truth=pd.Series(simulation.truth)[rows]
)
assert ((against["truth"] - against["mean"]).abs() < 3 * against["sd"]).all()
shares = tree["posterior"]["pve_share"].sum("pve_part")
assert np.allclose(shares, 1.0)
against.round(3)

# %% tags=["picture"]
quadrature = tree["quadrature"]
h2 = quadrature["h2"].to_numpy()
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(h2, quadrature["density"], label="posterior")
axes.plot(h2, quadrature["prior_density"], "--", label="prior")
axes.axvspan(*table.loc["h2", ["lower", "upper"]], alpha=0.15, label="95 % HDI")
axes.axvline(simulation.truth["h2"], color="grey", lw=1, label="truth")
axes.set(xlabel="heritability h²", ylabel="density", xlim=(0, 1), ylim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# ### On GCTA's and GEMMA's scale
#
# Our kernel is the GRM divided by its average semivariance, and that divisor is kept. On the scale
# of the undivided GRM, which is what GCTA reports, $V(G) = \sigma_u^2/\text{factor}$; GEMMA's PVE
# weighs $\sigma_u^2$ with the mean diagonal of its centred matrix, $(n-1)/n$ of the factor. With
# GRMs whose diagonal is about one, all three agree to a percent or so.

# %%
factor = json.loads(tree.attrs["relationships"])["additive"]["factor"]
sigma2_u, sigma2_e = tree["posterior"]["sigma2_u"], tree["posterior"]["sigma2_e"]
v_g = sigma2_u / factor
gemma = (cohort.n - 1) / cohort.n * sigma2_u
scales = {
    "bayeslmm": tree["posterior"]["h2"],
    "GCTA": v_g / (v_g + sigma2_e),
    "GEMMA": gemma / (gemma + sigma2_e),
}
print(f"factor {factor:.4f}:", {name: round(float(x.mean()), 3) for name, x in scales.items()})
assert np.ptp([float(x.mean()) for x in scales.values()]) < 0.02

# %% [markdown]
# ## 6. Is it to be trusted?
#
# `diagnose` looks at R-hat, the effective sample sizes, and (for Markov chains) divergences and the
# energy, and gives a verdict in words. Draws of the exact engine are independent, so here it is a
# formality. It is not one with NUTS.

# %%
diagnosis = bl.diagnose(tree)
assert diagnosis.ok
print(diagnosis.verdict)
diagnosis.table.round(4)

# %% [markdown]
# ### Exact against NUTS
#
# The same model object, sampled by NUTS. Two engines that share only the model should agree on
# every mean to within Monte Carlo error. We ask for four standard errors.

# %%
chains = bl.fit(model, engine="nuts", draws=4000, chains=4, seed=2)
nuts_diagnosis = bl.diagnose(chains)
assert nuts_diagnosis.ok
print(nuts_diagnosis.verdict)

# %%
nuts = bl.heritability(chains).set_index("quantity")
drawn = nuts.index[nuts["mcse"].notna()]
comparison = pd.DataFrame(
    {
        "exact": table.loc[drawn, "mean"],
        "nuts": nuts.loc[drawn, "mean"],
        "mcse": np.hypot(table.loc[drawn, "mcse"], nuts.loc[drawn, "mcse"]),
    }
)
comparison["z"] = (comparison["nuts"] - comparison["exact"]) / comparison["mcse"]
assert (comparison["z"].abs() < 4).all()
comparison.round(4)

# %% [markdown]
# ### Phenotypes from the prior and from the posterior
#
# The model is PyMC's, so PyMC can draw phenotypes from it: before the data, to see what the priors
# hold possible, and after, to see whether such data look like ours. Before, age and sex may have
# effects far larger than any that are found, and $y$ may vary twenty times as much as it does.
# After, it varies as ours do. (The `mode` spares a warning: by default PyMC tries to compile the
# model's density with numba.)

# %%
python = {"compile_kwargs": {"mode": "FAST_COMPILE"}, "random_seed": 3}
before = pm.sample_prior_predictive(500, model=model, **python)
after = pm.sample_posterior_predictive(
    tree.isel(draw=slice(250)), model, progressbar=False, **python
)
spread = pd.DataFrame(
    {
        "prior": before["prior_predictive"]["phenotype"].std("individual").to_series(),
        "posterior": after["posterior_predictive"]["phenotype"].std("individual").to_series(),
    }
).quantile([0.025, 0.5, 0.975])
assert spread.loc[0.025, "posterior"] < cohort.y.std() < spread.loc[0.975, "posterior"]
assert spread.loc[0.975, "prior"] > 10 * cohort.y.std()
print(f"standard deviation of y: {cohort.y.std():.2f}")
spread.round(2)

# %%
az.plot_ppc_dist(after, num_samples=50)
plt.show()

# %% [markdown]
# ## 7. Another prior
#
# Any prior can be changed by its keyword. A sceptic who expects a low heritability might take
# Beta(1, 9), with a mean of 0.1, and see how far 300 people move him.

# %%
sceptic = bl.fit(bl.models.additive(cohort, grm, h2="beta(1, 9)"))
found = bl.heritability(sceptic).set_index("quantity").loc["h2"]
print("uniform prior:    mean {mean:.3f}, HDI {lower:.3f} to {upper:.3f}".format(**table.loc["h2"]))
print("Beta(1, 9) prior: mean {mean:.3f}, HDI {lower:.3f} to {upper:.3f}".format(**found))
assert 0.1 < found["mean"] < table.loc["h2", "mean"]

# %% [markdown]
# How much does the result depend on the prior in general? `psense_summary` makes prior and
# likelihood a little stronger and weaker and looks at how the posterior moves. It needs no second
# fit.

# %%
az.psense_summary(tree, var_names=["h2", "total_sd"])

# %% [markdown]
# ## 8. A model of our own
#
# Some would put half-normal priors on the two standard deviations, which looks innocent. This is
# the file above with the variances replaced. To start such a file, `bayeslmm models copy additive
# mine.py`; to use it, `bayeslmm h2 --model ./mine.py`, or `load` as here.

# %%
mine = folder / "mine.py"
source = '''"""Additive model with half-normal standard deviations.

    y = Xβ + g + ε,   g ~ N(0, σ²_u K),   ε ~ N(0, σ²_e I)

Priors: σ_u and σ_e are half-normal with scale sd(y | X); each covariate's effect, in sd(y | X) per
sd of the covariate, is normal with mean 0 and sd 10.
"""

import pymc as pm
import pytensor.tensor as pt

from bayeslmm.modelling import (
    Cohort,
    Relationship,
    fixed_effects,
    phenotype_unit,
    spectral_normal,
    spectrum,
)


def build(cohort: Cohort, additive: Relationship, *, beta: str = "normal(0, 10)") -> pm.Model:
    """Build the model for one trait."""
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        effects = fixed_effects(cohort, beta)
        unit = phenotype_unit(cohort)
        sigma_u = pm.HalfNormal("sigma_u", sigma=unit)
        sigma_e = pm.HalfNormal("sigma_e", sigma=unit)
        variance = pm.Deterministic(
            "variance", pt.stack([sigma_u**2, sigma_e**2]), dims="component"
        )
        spectral_normal(
            "phenotype",
            effects,
            variance,
            spectrum=spectrum(cohort, additive),
            observed=cohort.y,
            dims="individual",
        )
    return model
'''

# %%
mine.write_text(source, encoding="utf-8")
my_model = bl.models.load(mine)
my_tree = bl.fit(my_model(cohort, grm))
print(my_tree.attrs["engine_reason"])
my_row = bl.heritability(my_tree).set_index("quantity").loc["h2"]
print("half-normal sds:  mean {mean:.3f}, HDI {lower:.3f} to {upper:.3f}".format(**my_row))

# %% [markdown]
# The exact engine serves this file, too: it asks for two scalar parameters with any prior, not for
# ours. Here the result hardly changes. But equal half-normal priors on the standard deviations are
# *not* a vague prior on the heritability: they imply $h^2 \sim \text{Beta}(½, ½)$, which favours 0
# and 1. With little data that shows. The prior draws are in the tree:

# %%
implied = my_tree["prior"]["h2"].to_numpy().ravel()
edges = beta_distribution(0.5, 0.5).cdf(0.1)
print(f"prior P(h² < 0.1): {np.mean(implied < 0.1):.3f} (Beta(½, ½): {edges:.3f}; uniform: 0.1)")
assert abs(np.mean(implied < 0.1) - edges) < 0.05

# %% [markdown]
# ## 9. ArviZ
#
# What `fit` returns is an `xarray.DataTree` with the groups that ArviZ knows. Its functions work as
# they are. ArviZ's own default is an equal-tailed interval of 89 %; say which one you want.

# %%
az.summary(tree, var_names=["h2", "total_sd", "beta"], ci_kind="eti", ci_prob=0.95)

# %%
az.plot_trace_dist(chains, var_names=["h2", "total_sd"])
plt.show()

# %%
az.plot_forest(tree, var_names=["pve_fixed", "pve_random", "pve_total"], combined=True)
plt.show()

# %% [markdown]
# Breeding values are drawn exactly on request, with the rest of the posterior. The estimate is the
# mean; its standard deviation is smaller the more relatives there are.

# %%
with_g = bl.fit(model, draws=1000, genetic_values=True)["posterior"]["g"]
breeding = pd.DataFrame(
    {"mean": with_g.mean(("chain", "draw")), "sd": with_g.std(("chain", "draw"))},
    index=cohort.individuals,
)
breeding.head().round(3)

# %% [markdown]
# Every dimension has labels. One person is selected by name, and a question about two is asked of
# their draws.

# %%
one, other = (with_g.sel(individual=name) for name in ("F1_3", "F1_4"))
print(f"P(g of F1_3 > g of F1_4) = {float((one > other).mean()):.2f}")
assert np.isclose(one.mean(), breeding.loc[("F1", "F1_3"), "mean"])

# %% [markdown]
# ## 10. Report and files
#
# The report is one HTML file without any link to the outside: model and priors in words, who was
# dropped, prior and posterior, PVE, diagnostics, a posterior predictive check and provenance. The
# tree itself goes into a netCDF file, and all of it can be had again from there.

# %%
report = bl.write_report(tree, folder / "study.html")
tree.to_netcdf(folder / "study.nc", engine="h5netcdf")
with xr.open_datatree(folder / "study.nc", engine="h5netcdf") as again:
    same = bl.heritability(again.load()).set_index("quantity")
pd.testing.assert_frame_equal(same, table)
print(f"{report.name}: {report.stat().st_size // 1024} KiB")

# %% [markdown]
# On the command line all of the above is
#
# ```
# bayeslmm h2 --bfile study --pheno study.pheno --covar study.covar \
#     --formula "~ C(sex) + age" --out study
# ```
#
# which writes the table, the tree, the report, and a record of the run.
