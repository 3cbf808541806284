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
# # The parts of heritability
#
# One GRM gives one genetic variance. Several give its parts: by chromosome, by allele frequency,
# by annotation, or additive and dominance variance.
#
# $$ y = X\beta + g_1 + \dots + g_K + \varepsilon, \qquad g_k \sim N(0, \sigma_k^2 K_k), \qquad
#    \varepsilon \sim N(0, \sigma_e^2 I) $$
#
# The first half divides a trait among four chromosomes, two of which have nothing to do with it.
# The second half looks for dominance. Everything is simulated, so that we know what ought to come
# out.

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayeslmm as bl

# %% [markdown]
# ## 1. Kernels from one pass
#
# 400 people in families of two parents and three children; 1 200 variants, 300 on each of four
# chromosomes.

# %%
simulation = bl.simulate_cohort(n=400, m=1200, families=True, seed=7)
individuals = simulation.genotypes.individuals
dosages = np.vstack([block for _, block in simulation.genotypes.blocks(dtype=np.float64)]).T
variants = simulation.genotypes.variants.assign(
    CHROM=np.repeat(["1", "2", "3", "4"], 300), POS=10_000 * np.arange(1, 1201)
)
genotypes = bl.from_array(dosages, individuals, variants)

sets = bl.choose_sets(genotypes, "chromosome")
kernels = bl.compute_grms(genotypes, sets=sets)
print(sets)

# %% [markdown]
# A kernel for each set of variants, and the genotypes are read once. `choose_sets` also divides
# them by allele frequency (`"maf"`), by LD score (`"ld"`), or as a file says that has a variant and
# its set in each line. On the command line the same words follow `--model partitioned --by`.
#
# The parts are parts of something: the GRM of all variants is their average, weighted by the
# numbers of variants.

# %%
whole = bl.compute_grm(genotypes)
weights = {name: kernel.n_variants / whole.n_variants for name, kernel in kernels.items()}
assert np.allclose(sum(weights[name] * kernels[name].matrix for name in kernels), whole.matrix)

# %% [markdown]
# What can be told apart? Brothers and sisters share half of *every* chromosome, so the entries of
# two chromosomes' kernels are correlated. The more so, the less the data say about which of the
# two has the variance. A correlation above 0.99 is a warning, two kernels that are the same are an
# error.

# %%
below = np.tril_indices(whole.n, k=-1)
entries = np.array([kernel.matrix[below] for kernel in kernels.values()])
correlation = pd.DataFrame(np.corrcoef(entries), list(kernels), list(kernels))
assert correlation.to_numpy()[0, 1] < 0.99
correlation.round(2)

# %% [markdown]
# ## 2. A trait
#
# Chromosome 1 has 40 % of the variance, chromosome 2 has 20 %, the others nothing. A variance is
# measured on the kernel's scale, average semivariance one, so that $\sigma_k^2$ is the expected
# sample variance of $g_k$.

# %%
truth = {"chr1": 0.4, "chr2": 0.2, "chr3": 0.0, "chr4": 0.0, "residual": 0.4}
rng = np.random.default_rng(7)


def genetic_values(W: np.ndarray, kernel: bl.Relationship, variance: float) -> np.ndarray:
    """Draw g = Wa of that expected sample variance; the kernel is WWᵀ/m."""
    m = W.shape[1]
    factor = kernel.on(kernel.individuals).factor  # its average semivariance
    return W @ rng.standard_normal(m) * np.sqrt(variance / (m * factor))


p = dosages.mean(axis=0) / 2
W = (dosages - 2 * p) / np.sqrt(2 * p * (1 - p))
assert np.allclose(W @ W.T / W.shape[1], whole.matrix)
chromosome = variants["CHROM"].to_numpy()
y = 10 + rng.standard_normal(400) * np.sqrt(truth["residual"])
for name, kernel in kernels.items():
    y += genetic_values(W[:, chromosome == name.removeprefix("chr")], kernel, truth[name])
cohort = bl.cohort_from_arrays(y, individuals=individuals, trait="y")

# %% [markdown]
# ## 3. The prior of the shares
#
# What is a good prior for five shares that sum to one? A flat Dirichlet looks innocent. But it
# gives each of the five the same expectation, so it expects $h^2$ to be 0.8 here, and 0.95 with 19
# chromosomes. The number of kernels must not have an opinion on heritability.
#
# So the prior has two steps. The share that all kernels explain *together* is uniform between 0
# and 1. How they divide it is uniform, too. Every single share has its highest density at zero.

# %%
explained = rng.uniform(size=100_000)
division = rng.dirichlet(np.ones(4), size=100_000)
prior_shares = explained[:, None] * division
flat = rng.dirichlet(np.ones(5), size=100_000)
ours, flat_one = prior_shares.sum(axis=1).mean(), flat[:, :4].sum(axis=1).mean()
print(f"prior mean of h²: {ours:.2f} here, {flat_one:.2f} with a flat Dirichlet")
assert abs(ours - 0.5) < 0.01
assert abs(flat_one - 0.8) < 0.01

# %% [markdown]
# ## 4. The posterior
#
# The model file takes any number of kernels. They go by their names.

# %%
model = bl.models.partitioned(cohort, *kernels.values())
tree = bl.fit(model, draws=2000, seed=1)
print(tree.attrs["engine_reason"])
for name, words in json.loads(tree.attrs["priors"]).items():
    print(f"prior of {name}: {words}")

# %% [markdown]
# With several kernels there is no common eigenbasis, and the exact engine cannot serve. The engine
# is `laplace`. Fixed effects and genetic values are integrated out; what is left are five numbers.
# The engine finds the mode of their posterior and its curvature, draws from a distribution of that
# shape with heavier tails, and weights the draws by the exact density. They are near-independent
# draws of the true posterior, not of an approximation.
#
# It works only if the proposal covers the posterior. That is what $\hat k$ says: below 0.7 the
# weights are fine; above, bayeslmm warns and samples with NUTS instead.

# %%
diagnosis = bl.diagnose(tree)
table = bl.heritability(tree).set_index("quantity")
print(diagnosis.verdict)
print(f"k̂ = {table.loc['pareto_k', 'mean']:.2f}")
assert diagnosis.ok
assert table.loc["pareto_k", "mean"] < 0.7

# %%
shares = [f"share[{name}]" for name in truth]
against = table.loc[shares, ["mean", "sd", "mode", "lower", "upper"]].assign(
    truth=list(truth.values())
)
assert ((against["truth"] - against["mean"]).abs() < 3 * against["sd"]).all()
assert np.isclose(against["mean"].sum(), 1.0)
against.round(3)

# %%
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
rows = np.arange(len(against))[::-1]
axes.hlines(rows, against["lower"], against["upper"], lw=3, color="C0", label="95 % HDI")
axes.plot(against["mean"], rows, "o", color="C0", label="mean")
axes.plot(against["truth"], rows, "|", color="black", ms=16, label="truth")
axes.set(xlabel="share of the variance", yticks=rows, yticklabels=list(truth), xlim=(0, 1))
axes.legend()
plt.show()

# %% [markdown]
# ## 5. What a share of zero looks like
#
# A share cannot be negative, so its posterior mean is above zero whatever the data are: the means
# of chromosomes 3 and 4 are no evidence. Look at the interval instead. It reaches down to exactly
# zero, and the posterior is highest there. For chromosome 1 it is far away.

# %%
assert (table.loc[["share[chr3]", "share[chr4]"], "lower"] < 0.005).all()
assert table.loc["share[chr1]", "lower"] > 0.05
table.loc[table.index.str.startswith("p_share"), ["mean"]].round(3)

# %%
variance = tree["posterior"]["variance"]
posterior = variance / variance.sum("component")
figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
bins = np.linspace(0, 1, 51)
for axes, name in zip(panels, ("chr1", "chr3"), strict=True):
    drawn = posterior.sel(component=name).to_numpy().ravel()
    axes.hist(drawn, bins, density=True, alpha=0.6, label="posterior")
    axes.hist(prior_shares[:, 0], bins, density=True, histtype="step", color="C1", label="prior")
    axes.axvline(truth[name], color="black", lw=1, label="truth")
    axes.set(xlabel=f"share of {name}", xlim=(0, 1))
panels[0].set(ylabel="density")
panels[0].legend()
plt.show()

# %% [markdown]
# ## 6. The parts and the whole
#
# The genetic shares add up to $h^2$ in every draw; $h^2$ cannot exceed one. One kernel of all
# variants (the model `additive`, served exactly) gives nearly the same $h^2$. It assumes that
# every chromosome has the same variance per variant, which is not so here, and the data notice.
# The *evidence* of a model is the probability of the data under it, averaged over its priors.

# %%
one = bl.heritability(bl.fit(bl.models.additive(cohort, whole), seed=1)).set_index("quantity")
both = pd.DataFrame({"four kernels": table.loc["h2"], "one kernel": one.loc["h2"]}).T
assert abs(both["mean"].iloc[0] - both["mean"].iloc[1]) < 0.1
factor = table.loc["log_evidence", "mean"] - one.loc["log_evidence", "mean"]
print(f"log Bayes factor in favour of four kernels: {factor:.1f}")
both[["mean", "sd", "lower", "upper"]]

# %% [markdown]
# The *realised* parts are those of this sample: the sample variances of each $g_k$, of the
# residuals, and twice the covariances between them, over their sum. They add up to one in every
# draw, and the covariances are a part of their own.

# %%
parts = tree["posterior"]["pve_share"]
assert np.allclose(parts.sum("pve_part"), 1.0)
mean = parts.mean(("chain", "draw")).to_series()
figure, axes = plt.subplots(figsize=(7, 1.8), layout="constrained")
left = 0.0
for name, value in mean.items():
    if name in ("fixed", "covariance"):  # no covariates; and a part that may be negative
        continue
    axes.barh("y", value, left=left, label=name)
    left += value
axes.set(xlabel=f"realised part of the variance (covariances: {mean['covariance']:.3f})")
axes.legend(ncol=5, loc="upper center", bbox_to_anchor=(0.5, 1.5))
plt.show()

# %% [markdown]
# ## 7. Dominance
#
# An individual with one copy of an allele need not lie halfway between those with none and two.
# Its deviation is dominance. In the orthogonal coding (Vitezica and others 2013) a genotype with
# 0, 1, 2 copies of an allele of frequency $p$ has the additive code $x - 2p$ and the dominance
# code $(0, 2p, 4p-2) - 2p^2$. In Hardy-Weinberg proportions the two are uncorrelated, so that the
# additive kernel does not take what belongs to dominance.

# %%
q = 0.3
frequency = np.array([(1 - q) ** 2, 2 * q * (1 - q), q**2])
additive = np.array([0, 1, 2]) - 2 * q
dominance = np.array([0, 2 * q, 4 * q - 2]) - 2 * q**2
assert np.isclose(frequency @ additive, 0)
assert np.isclose(frequency @ dominance, 0)
assert np.isclose(frequency @ (additive * dominance), 0)
assert np.isclose(frequency @ dominance**2, (2 * q * (1 - q)) ** 2)

# %% [markdown]
# Parents and children share half of their additive value but none of their dominance; brothers and
# sisters share half and a quarter. That is what tells the two apart.

# %%
two = bl.compute_grms(genotypes, ("additive", "dominance"))
family = individuals.get_level_values("FID").to_numpy()
related = family[:, None] == family
child = (simulation.families["PAT"] != "0").to_numpy()
kinds = {
    "parent and child": related & (child[:, None] != child),
    "brothers and sisters": related & child[:, None] & child & ~np.eye(400, dtype=bool),
    "unrelated": ~related,
}
shared = pd.DataFrame(
    {
        kind: {name: k.matrix[pairs].mean() for name, k in two.items()}
        for kind, pairs in kinds.items()
    }
).T
assert abs(shared.loc["brothers and sisters", "dominance"] - 0.25) < 0.05
assert abs(shared.loc["parent and child", "dominance"]) < 0.05
shared.round(2)

# %% [markdown]
# A trait with 30 % additive and 40 % dominance variance:

# %%
D = np.take_along_axis(
    np.stack([-2 * p**2, 2 * p - 2 * p**2, 4 * p - 2 - 2 * p**2]), dosages.astype(int), axis=0
) / (2 * p * (1 - p))
true = {"additive": 0.3, "dominance": 0.4, "residual": 0.3}
assert np.allclose(D @ D.T / D.shape[1], two["dominance"].matrix)
z = rng.standard_normal(400) * np.sqrt(true["residual"])
for name, codes in (("additive", W), ("dominance", D)):
    z += genetic_values(codes, two[name], true[name])
second = bl.cohort_from_arrays(z, individuals=individuals, trait="z")
print(bl.models.dominance.doc.split("\n\nPriors")[0])

# %%
fitted = bl.fit(bl.models.dominance(second, *two.values()), draws=2000, seed=1)
found = bl.heritability(fitted).set_index("quantity")
assert bl.diagnose(fitted).ok
compared = found.loc[[f"share[{name}]" for name in true], ["mean", "sd", "lower", "upper"]].assign(
    truth=list(true.values())
)
assert ((compared["truth"] - compared["mean"]).abs() < 3 * compared["sd"]).all()
compared.round(3)

# %% tags=["picture"]
v = fitted["posterior"]["variance"]
share = (v / v.sum("component")).stack(sample=("chain", "draw"))
a, d = (share.sel(component=name).to_numpy() for name in ("additive", "dominance"))
figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
axes.plot(a, d, ".", ms=3, alpha=0.4, label="posterior draws")
axes.plot(0.3, 0.4, "k+", ms=14, label="truth")
axes.set(xlabel="additive share", ylabel="dominance share", xlim=(0, 1), ylim=(0, 1))
axes.legend()
print(f"correlation of the two shares: {np.corrcoef(a, d)[0, 1]:.2f}")
assert np.corrcoef(a, d)[0, 1] < 0

# %% [markdown]
# The cloud leans to the left: the data know the sum of the two better than either. `h2` is that
# sum, heritability in the *broad* sense; the additive share is the one in the *narrow* sense,
# which is what children inherit. On the command line all of this is
#
# ```
# bayeslmm h2 --bfile study --pheno study.pheno --model partitioned --by chromosome --out parts
# bayeslmm h2 --bfile study --pheno study.pheno --model dominance --out dominance
# ```
