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
# # Two traits
#
# Do the same genes act on both? Each trait has a genetic value and a residual; both pairs are
# correlated.
#
# $$ y_t = X_t\beta_t + g_t + \varepsilon_t, \qquad
#    (g_A, g_B) \sim N(0, G \otimes K), \qquad
#    (\varepsilon_A, \varepsilon_B) \sim N(0, R \otimes I) $$
#
# $G$ and $R$ are $2 \times 2$ covariance matrices. The *genetic correlation* is
# $r_g = G_{AB}/\sqrt{G_{AA}G_{BB}}$, the *residual correlation* $r_e$ is the same of $R$. The two
# may differ, even in sign: what the environment does to both traits has nothing to do with what the
# genes do.

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayeslmm as bl

# %% [markdown]
# ## 1. Two traits of 300 people
#
# Families of two parents and three children, 600 variants. Every variant has two effects, one on
# each trait, correlated by 0.7. The residuals are correlated by -0.3.

# %%
n, m = 300, 600
genotypes = bl.simulate_cohort(n=n, m=m, families=True, seed=5).genotypes
grm = bl.compute_grm(genotypes)

truth = {"h2[A]": 0.6, "h2[B]": 0.5, "r_g[A,B]": 0.7, "r_e[A,B]": -0.3}
G = np.array([[0.6, 0.0], [0.0, 0.5]])
G[0, 1] = G[1, 0] = 0.7 * np.sqrt(0.6 * 0.5)
R = np.array([[0.4, 0.0], [0.0, 0.5]])
R[0, 1] = R[1, 0] = -0.3 * np.sqrt(0.4 * 0.5)

rng = np.random.default_rng(5)
dosages = np.vstack([block for _, block in genotypes.blocks(dtype=np.float64)]).T
p = dosages.mean(axis=0) / 2
W = (dosages - 2 * p) / np.sqrt(2 * p * (1 - p))
assert np.allclose(W @ W.T / m, grm.matrix)
effects = rng.standard_normal((m, 2)) @ np.linalg.cholesky(G).T
g = W @ effects / np.sqrt(m * grm.on(grm.individuals).factor)  # the factor: average semivariance
epsilon = rng.standard_normal((n, 2)) @ np.linalg.cholesky(R).T
y = np.array([10.0, 50.0]) + g + epsilon

# %% [markdown]
# What one sees is the correlation of the phenotypes. It is a mixture of the two and tells neither.

# %%
phenotypic = (G + R)[0, 1] / np.sqrt((G + R)[0, 0] * (G + R)[1, 1])
seen = np.corrcoef(y.T)[0, 1]
assert abs(seen - phenotypic) < 0.15
print(f"phenotypic correlation: {seen:.2f} seen, {phenotypic:.2f} expected")

# %% [markdown]
# ## 2. One cohort of both
#
# A cohort for each trait, with its own individuals and covariates, and the two *stacked*: the
# records of A, then those of B. The design is block diagonal, so that every trait has its own
# effects.

# %%
names = grm.individuals
one = [bl.cohort_from_arrays(y[:, t], individuals=names, trait="AB"[t]) for t in range(2)]
cohort = bl.stack_traits(one)
assert cohort.n == 2 * n
assert cohort.covariates == ("intercept[A]", "intercept[B]")
print(cohort.labels[:2], "...", cohort.labels[-2:])

# %% [markdown]
# ## 3. The model and its priors
#
# The two heritabilities are uniform between 0 and 1, and so is each correlation between -1 and 1
# (an LKJ prior with $\eta = 1$; a larger `eta` says that correlations are small).

# %%
model = bl.models.bivariate(cohort, grm)
tree = bl.fit(model, draws=4000, seed=1)
print(tree.attrs["engine_reason"])
for name, words in json.loads(tree.attrs["priors"]).items():
    print(f"prior of {name}: {words}")

# %% [markdown]
# Nobody misses a trait and the designs agree, so one eigendecomposition of $K$ serves both traits,
# and a density costs next to nothing however many individuals there are. Six numbers are left; the
# `laplace` engine draws them by importance sampling. $\hat k$ below 0.7 says that its proposal
# covers the posterior.

# %%
diagnosis = bl.diagnose(tree)
table = bl.heritability(tree).set_index("quantity")
print(diagnosis.verdict)
print(f"k̂ = {table.loc['pareto_k', 'mean']:.2f}")
assert diagnosis.ok
assert table.loc["pareto_k", "mean"] < 0.7

# %%
against = table.loc[list(truth), ["mean", "sd", "mode", "lower", "upper"]].assign(
    truth=pd.Series(truth)
)
assert ((against["truth"] - against["mean"]).abs() < 3 * against["sd"]).all()
against.round(3)

# %% [markdown]
# ## 4. What can be said of the genetic correlation
#
# Not only an estimate: the probability that it is negative, and that the two traits are
# genetically the same one ($|r_g| > 0.95$).


# %%
def genetic_correlation(tree):
    return tree["posterior"]["r_g"].sel(trait="A", other_trait="B").to_numpy().ravel()


r_g = genetic_correlation(tree)
probability = table.loc[["p_r_g_below_0[A,B]", "p_abs_r_g_above_0.95[A,B]"], "mean"]
assert np.isclose(probability.iloc[0], np.mean(r_g < 0))
assert probability.iloc[0] < 0.05
print(f"P(r_g < 0) = {probability.iloc[0]:.4f}, P(|r_g| > 0.95) = {probability.iloc[1]:.4f}")

# %% [markdown]
# A genetic correlation needs far more data than a heritability. The same question with the first
# 60 people:

# %%
few = [bl.cohort_from_arrays(y[:60, t], individuals=names[:60], trait="AB"[t]) for t in range(2)]
small = bl.fit(bl.models.bivariate(bl.stack_traits(few), grm), draws=4000, seed=1)
vague = genetic_correlation(small)
assert vague.std() > 1.5 * r_g.std()
before = 1 / np.sqrt(3)  # sd of a uniform on (-1, 1)
print(f"sd of r_g: {r_g.std():.2f} with 300, {vague.std():.2f} with 60, {before:.2f} with none")

# %% tags=["picture"]
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
bins = np.linspace(-1, 1, 61)
axes.hist(r_g, bins, density=True, alpha=0.6, label="posterior, n = 300")
axes.hist(vague, bins, density=True, histtype="step", lw=1.5, color="C2", label="n = 60")
axes.hlines(0.5, -1, 1, color="C1", ls="--", label="prior")
axes.axvspan(-1, 0, color="grey", alpha=0.12)
axes.axvline(truth["r_g[A,B]"], color="black", lw=1, label="truth")
axes.set(xlabel="genetic correlation (shaded: negative)", ylabel="density", xlim=(-1, 1))
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# A word of warning. Where a heritability may be zero, its trait has no genetic values that could
# be correlated, and the posterior of $r_g$ falls back on the prior. Always look at `h2[A]` and
# `h2[B]` first, and be suspicious of an $r_g$ whose posterior piles up at $\pm 1$.

# %%
v = tree["posterior"]["variance"]
h2 = v.sel(component="additive:B") / (v.sel(component="additive:B") + v.sel(component="residual:B"))
assert np.isclose(h2.mean(), table.loc["h2[B]", "mean"])
r_e = tree["posterior"]["r_e"].sel(trait="A", other_trait="B").to_numpy().ravel()
figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
axes.plot(r_g, r_e, ".", ms=2, alpha=0.4, label="posterior draws")
axes.plot(truth["r_g[A,B]"], truth["r_e[A,B]"], "k+", ms=14, label="truth")
axes.set(xlabel="genetic correlation", ylabel="residual correlation", xlim=(-1, 1), ylim=(-1, 1))
axes.set(xticks=(-1, -0.5, 0, 0.5, 1), yticks=(-1, -0.5, 0, 0.5, 1))
axes.legend(loc="upper left")
assert np.corrcoef(r_g, r_e)[0, 1] < 0

# %% [markdown]
# The cloud leans to the left: the data know the phenotypic correlation well, and what one of the
# two takes the other has to give.
#
# ## 5. Missing values
#
# Trait B is expensive and was measured in 150 of the 300 people. Nothing has to be imputed or
# thrown away: those without B still tell of A, and of B through A.

# %%
measured = rng.permutation(n) < n // 2
b = np.where(measured, y[:, 1], np.nan)
incomplete = bl.stack_traits([one[0], bl.cohort_from_arrays(b, individuals=names, trait="B")])
assert incomplete.n == n + n // 2
partly = bl.models.bivariate(incomplete, grm)
tree_partly = bl.fit(partly, draws=1000, seed=1)
table_partly = bl.heritability(tree_partly).set_index("quantity")
assert table_partly.loc["pareto_k", "mean"] < 0.7
pd.DataFrame(
    {"all": table.loc[list(truth), "sd"], "B of a half": table_partly.loc[list(truth), "sd"]}
).round(3)

# %% [markdown]
# With missing values the two traits have no common eigenbasis, and every density is a Cholesky
# factorisation of the covariance of all records. The answer is the same model's; only dearer.
#
# ## 6. Predicting the trait that was not measured
#
# The genetic values of B of the other 150, once from both traits and once from B alone (their
# relatives'). *Reliability* is the part of the prior variance of a genetic value that the data
# took away; it is what the squared correlation with the true value is expected to be.

# %%
both = bl.prediction_table(partly, tree_partly, incomplete, {"additive": grm})
both = both[both["trait"] == "B"].set_index("IID").loc[names.get_level_values("IID")]
alone_cohort = bl.cohort_from_arrays(b, individuals=names, trait="B")
alone_model = bl.models.additive(alone_cohort, grm)
alone = bl.prediction_table(
    alone_model, bl.fit(alone_model, seed=1), alone_cohort, {"additive": grm}
)
alone = alone.set_index("IID").loc[both.index]
unmeasured = ~both["phenotyped"].to_numpy()
assert (unmeasured == ~measured).all()
gain = pd.DataFrame(
    {
        "reliability": [x["reliability"][unmeasured].mean() for x in (alone, both)],
        "r² with the truth": [
            np.corrcoef(x["mean"][unmeasured], g[unmeasured, 1])[0, 1] ** 2 for x in (alone, both)
        ],
    },
    index=["from B alone", "from A and B"],
)
assert gain.loc["from A and B", "reliability"] > gain.loc["from B alone", "reliability"]
gain.round(2)

# %%
figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
axes.plot([0, 1], [0, 1], color="grey", lw=1)
axes.plot(alone["reliability"][unmeasured], both["reliability"][unmeasured], ".", label="B missing")
axes.plot(alone["reliability"][measured], both["reliability"][measured], ".", label="B measured")
axes.set(
    xlabel="reliability from B alone", ylabel="reliability from A and B", xlim=(0, 1), ylim=(0, 1)
)
axes.legend()
plt.show()

# %% [markdown]
# On the command line:
#
# ```
# bayeslmm h2 --bfile study --pheno study.pheno --model bivariate --pheno-name A,B \
#     --predict --out two
# ```
