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
# # Five individuals, three variants
#
# The smallest example of a linear mixed model in genetics, worked by hand and then handed to
# bayeslmm. It has five individuals, three variants, one of which (variant 1) also gets an effect of
# its own. Everything is small enough to be printed, so every number can be checked.
#
# $$ y = X\beta + Zu + \varepsilon, \qquad u \sim N(0, \sigma_u^2 G), \qquad
#    \varepsilon \sim N(0, \sigma_e^2 I) $$
#
# | symbol | meaning | here |
# |---|---|---|
# | $y$ | phenotype of each record | 5 numbers |
# | $X, \beta$ | covariates with the intercept, and their fixed effects | intercept, variant 1 |
# | $Z$ | which record belongs to which individual | the identity: one record each |
# | $u$ | total genetic value of each individual, a random effect; $g = Zu$ | 5 numbers |
# | $G$ | genomic relationship matrix (GRM) | 5 × 5, from the 3 variants |
# | $\varepsilon$ | what neither explains | 5 numbers |
#
# The first half reproduces numbers that were computed in R (with `scale` and `MASS::mvrnorm`). The
# second half asks what these five phenotypes say about heritability. The answer is: next to
# nothing, and a good analysis says so.

# %%
import json
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import beta as beta_distribution

import bayeslmm as bl

# %% [markdown]
# ## 1. Genotypes, standardised
#
# A dosage counts the copies of the alternative allele: 0, 1 or 2. Rows are individuals.

# %%
dosages = np.array([[0, 1, 1], [2, 0, 0], [1, 1, 0], [0, 0, 0], [0, 2, 2]])
people = ["i1", "i2", "i3", "i4", "i5"]
variants = ["variant_1", "variant_2", "variant_3"]
pd.DataFrame(dosages, index=people, columns=variants)

# %% [markdown]
# Each variant is centred and divided by its sample standard deviation (with $n-1$, as R's `scale`
# does). After that every variant has the same variance, whatever its allele frequency.

# %%
W = (dosages - dosages.mean(axis=0)) / dosages.std(axis=0, ddof=1)
assert np.allclose(W.mean(axis=0), 0.0)
assert np.allclose(W.var(axis=0, ddof=1), 1.0)
pd.DataFrame(W, index=people, columns=variants).round(4)

# %% [markdown]
# ## 2. The GRM, to every printed digit
#
# The relationship of two individuals is the average, over variants, of the product of their
# standardised dosages: $G = WW^\top / m$. In bayeslmm this is `compute_grm(..., scale="sample")`.
# (The default, `scale="gcta"`, divides by $\sqrt{2p(1-p)}$, the standard deviation that
# Hardy-Weinberg proportions would give, instead of the one observed.)

# %%
genotypes = bl.from_array(dosages, individuals=people)
grm = bl.compute_grm(genotypes, scale="sample")
assert np.allclose(grm.matrix, W @ W.T / 3, rtol=0, atol=1e-15)

printed_by_r = """
 0.23571429 -0.5261905 -0.18095238 -0.02619048  0.4976190
-0.52619048  1.2714286  0.30714286  0.10476190 -1.1571429
-0.18095238  0.3071429  0.23571429 -0.02619048 -0.3357143
-0.02619048  0.1047619 -0.02619048  0.60476190 -0.6571429
 0.49761905 -1.1571429 -0.33571429 -0.65714286  1.6523810
"""
for ours, row in zip(grm.matrix, printed_by_r.split("\n")[1:6], strict=True):
    for value, text in zip(ours, row.split(), strict=True):
        assert f"{value:.{len(text.split('.')[1])}f}" == text, (value, text)
pd.DataFrame(grm.matrix, index=people, columns=people).round(4)

# %% [markdown]
# Two properties matter later.
#
# **Its rank is 3, not 5.** Three variants span at most three directions, so five genetic values
# cannot vary freely. And each row sums to zero, because every variant was centred: a constant
# added to everybody is invisible to the GRM. (That is why a plain Cholesky factor of a centred GRM
# fails, and why bayeslmm splits the fixed effects off before it decomposes anything.)
#
# **Its scale is a choice.** $\sigma_u^2$ and $h^2$ mean nothing until $G$ has a scale. bayeslmm
# divides $G$ by its *average semivariance*, $\mathrm{trace}(PGP)/(n-1)$ with $P = I - 11^\top/n$.
# Then $\sigma_u^2$ is the expected sample variance of the genetic values among the individuals
# analysed. With variants scaled by their sample standard deviation this divisor is exactly 1.

# %%
assert np.linalg.matrix_rank(grm.matrix) == 3
assert np.allclose(grm.matrix.sum(axis=1), 0.0)
scaled = grm.on(grm.individuals)  # what every model does with it
gcta = bl.compute_grm(genotypes, scale="gcta")
assert np.isclose(scaled.factor, 1.0)
print("eigenvalues of G:          ", np.linalg.eigvalsh(grm.matrix).round(4))
print("mean diagonal of G:        ", np.trace(grm.matrix) / 5)
print("average semivariance of G: ", scaled.factor)
print("the same of GCTA's G:      ", round(gcta.on(gcta.individuals).factor, 4))

# %% [markdown]
# ## 3. $Z$ and $u$
#
# $Z$ has a row for each record and a column for each individual. With one record each it is the
# identity, $g = u$, and the covariance of the records' genetic values is $\sigma_u^2 ZGZ^\top =
# \sigma_u^2 G$. If the second individual had been measured twice, $Z$ would have a second row for
# it, and the two records would share one genetic value:

# %%
Z = np.eye(5)
Z_twice = np.vstack([Z, Z[1]])
assert np.array_equal(Z @ grm.matrix @ Z.T, grm.matrix)
K = Z_twice @ grm.matrix @ Z_twice.T
assert K[1, 5] == K[1, 1] == K[5, 5]  # the covariance of the two records is the whole variance

# %% [markdown]
# Notebook `04_records` goes on from here, with records as they come. Here everybody has one.
#
# The example was simulated with an effect of 0.8 for variant 1 (standardised), $\sigma_u = 0.5$ and
# $\sigma_e = 0.3$. These are the genetic values and residuals that R drew, and their sum.

# %%
beta_1, sigma_u, sigma_e = 0.8, 0.5, 0.3
u, epsilon, y = np.array(
    [
        [0.138947617910543, 0.124657840047836, -0.273050856641571],
        [-0.0549034803561418, 0.368851966778708, 1.56614655382245],
        [-0.361939370612396, 0.0710039016722794, 0.0668354074598494],
        [-0.167006355132184, -0.109614831975618, -0.813277501707751],
        [0.44490158911121, 0.331543281675084, 0.239788556186344],
    ]
).T
fixed, g = W[:, 0] * beta_1, Z @ u
assert np.allclose(fixed + g + epsilon, y, rtol=0, atol=1e-14)

# %% [markdown]
# A random effect with covariance $G$ is the same thing as a small random effect of each variant:
# $u = Wa/\sqrt{m}$ with $a_k \sim N(0, \sigma_u^2)$ has exactly the covariance
# $\sigma_u^2 WW^\top/m = \sigma_u^2 G$. So R's five genetic values must be a combination of the
# three variants. They are:

# %%
a, *_ = np.linalg.lstsq(W / np.sqrt(3), u)
assert np.allclose(W @ a / np.sqrt(3), u, rtol=0, atol=1e-7)
print("variant effects a:", a.round(3))

# %% [markdown]
# ## 4. Proportion of variance explained
#
# The *realised* PVE uses the sample variances of what was actually drawn:
# $\mathrm{var}(X\beta)/\mathrm{var}(y)$, $\mathrm{var}(g)/\mathrm{var}(y)$ and
# $\mathrm{var}(X\beta + g)/\mathrm{var}(y)$.


# %%
def var(x: np.ndarray) -> float:
    return float(np.var(x, ddof=1))


pve = {
    "fixed": var(fixed) / var(y),
    "random": var(g) / var(y),
    "total": var(fixed + g) / var(y),
}
assert f"{pve['fixed']:.4f}" == "0.8187"
assert f"{pve['random']:.4f}" == "0.1212"
assert f"{pve['total']:.2f}" == "0.67"
print({name: round(value, 4) for name, value in pve.items()})

# %% [markdown]
# The fixed and the random part sum to 0.94, yet together they explain 0.67. No mistake: in so small
# a sample $X\beta$ and $g$ happen to be negatively correlated, and the covariance counts twice.
# bayeslmm therefore reports the decomposition in a second form, in which the parts (the covariance
# among them) are divided by their sum and add up to one:

# %%
parts = np.array([var(fixed), var(g), 2 * np.cov(fixed, g)[0, 1], var(y - fixed - g)])
shares = pd.Series(parts / parts.sum(), ["fixed", "random", "2 × covariance", "residual"])
assert np.isclose(shares.sum(), 1.0)
shares.round(3)

# %% [markdown]
# There is a third number, and it is a different thing: the *model* heritability $h^2 =
# \sigma_u^2/(\sigma_u^2 + \sigma_e^2)$, a ratio of parameters. Here it was set to
# $0.25/(0.25 + 0.09) = 0.735$. It leaves the fixed effects out of the denominator and does not
# change from one sample to the next; the realised PVE does.
#
# ## 5. The posterior
#
# So far we knew the answer. Now forget it: given $y$, variant 1 and the GRM, what can be said?
# The cohort aligns phenotype, covariates and individuals. It warns, rightly.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cohort = bl.cohort_from_arrays(
        y, W[:, 0], individuals=grm.individuals, trait="y", covariates=["variant_1"]
    )
assert any("the posterior will mostly be the prior" in str(one.message) for one in caught)
print(caught[-1].message)

# %%
model = bl.models.additive(cohort, grm)
print(bl.models.additive.doc)

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tree = bl.fit(model, draws=4000, seed=1)
assert any("rank" in str(one.message) for one in caught)
print(*(one.message for one in caught))

# %% [markdown]
# A second fair warning: the genetic values have few directions to vary in. (Variant 1 is a fixed
# effect now and takes one of the three directions of the GRM with it; two are left for $g$.)

# %%
warnings.simplefilter("ignore", bl.BayesLMMWarning)  # both have been read; do not repeat them
print(tree.attrs["engine"], "-", tree.attrs["engine_reason"])
for name, words in json.loads(tree.attrs["priors"]).items():
    print(f"prior of {name}: {words}")

# %% [markdown]
# The engine is `exact`: with one GRM the posterior of everything is a two-dimensional integral,
# which is computed by quadrature on a grid; after that, independent draws are taken. There is no
# Markov chain, so there is nothing that could fail to converge. That the *computation* is exact
# does not make the *data* informative, as we shall see.

# %%
table = bl.heritability(tree).set_index("quantity")
table[["mean", "sd", "median", "lower", "upper", "interval"]].round(3)

# %% [markdown]
# The table has the PVE as well, draw by draw: a posterior, not one number. It can exceed 1 here,
# because it compares the variance of a possible $X\beta$ with the variance of the $y$ that we
# have, and five individuals leave room for a large $X\beta$ that a negatively correlated $g$
# cancels.

# %% tags=["picture"]
prior = beta_distribution(1, 1)
quadrature = tree["quadrature"]
h2 = quadrature["h2"].to_numpy()
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(h2, quadrature["density"], label="posterior, n = 5")
axes.plot(h2, prior.pdf(h2), "--", label="prior: uniform")
axes.axvline(0.25 / 0.34, color="grey", lw=1, label="truth of the simulation")
axes.set(xlabel="heritability h²", ylabel="density", xlim=(0, 1), ylim=(0, 4))
axes.legend()
plt.show()

# %% [markdown]
# The posterior is nearly the prior: almost flat, with a narrow spike at $h^2 = 1$ (it leaves the
# plot, and we shall see where it comes from). Three numbers say the same:
#
# - the **95 % HDI** (the shortest interval with 95 % of the posterior) is nearly all of [0, 1];
# - the **expected standard error** of $h^2$ at this sample size and spectrum is about 1, on a
#   parameter that lives between 0 and 1. Above 0.15 bayeslmm calls a study *weakly informed*, and
#   the command line and the report warn;
# - the posterior variance divided by the prior variance is about one: the data have taken nothing
#   away from our uncertainty.

# %%
h2_row = table.loc["h2"]
variance_left = h2_row["sd"] ** 2 / prior.var()
assert h2_row["upper"] - h2_row["lower"] > 0.85
assert table.loc["se_expected", "mean"] > 0.9
assert 0.9 < variance_left < 1.2
print(f"95 % HDI: {h2_row['lower']:.2f} to {h2_row['upper']:.2f}")
print(f"expected SE of h²: {table.loc['se_expected', 'mean']:.2f}")
print(f"posterior variance / prior variance: {variance_left:.2f}")

# %% [markdown]
# Two more rows of the table are worth a look, because they seem to disagree. The Bayes factor
# finds hardly any evidence against $h^2 = 0$, while the exact restricted likelihood ratio test has
# a p-value near 0.01. With five individuals, an intercept and one covariate, three numbers are left
# over (the error contrasts). One of them lies outside the space of the GRM (eigenvalue 0): its
# variance is $\sigma_e^2$ alone, and it happened to come out near zero. So the likelihood rises
# steeply at $h^2 = 1$, where $\sigma_e^2 = 0$. A p-value takes the steepest point at its word; the
# Bayes factor averages over all the values that $h^2$ could have. A factor of 1.7 in favour of
# some heritability is what one lucky number is worth.

# %%
contrasts = tree["constant_data"]
pd.DataFrame(
    {
        "eigenvalue of G": contrasts["eigenvalue"].to_numpy().round(4),
        "contrast of y": contrasts["contrasts"].to_numpy().round(4),
    }
)

# %%
log10_bf = table.loc["log10_bf_h2_0", "mean"]
assert abs(log10_bf) < 0.5  # "barely worth a mention" (Jeffreys)
assert table.loc["p_rlrt", "mean"] < 0.05
print(f"log10 Bayes factor in favour of h² = 0: {log10_bf:.2f}")
print(f"exact restricted LRT of h² = 0: p = {table.loc['p_rlrt', 'mean']:.3f}")

# %% [markdown]
# ### The same posterior by brute force
#
# Nothing is hidden. Here is the posterior of $h^2$ once more, from the density of a multivariate
# normal on a grid of $h^2$ and of the total standard deviation $\tau$. The fixed effects are
# integrated out by adding their prior covariance to that of $y$.

# %%
X, n = cohort.X, cohort.n
unit = np.sqrt(((y - X @ np.linalg.lstsq(X, y)[0]) ** 2).sum() / (n - 2))  # sd(y | X)
# the prior counts in sd(y | X) per sd of the covariate, which is 1 here, around the mean of y
effects_covariance = (10 * unit) ** 2 * X @ X.T
share, total = np.meshgrid(
    (np.arange(400) + 0.5) / 400, np.geomspace(0.02, 40, 300) * unit, indexing="ij"
)
kernel = share[..., None, None] * scaled.matrix + (1 - share)[..., None, None] * np.eye(n)
V = effects_covariance + total[..., None, None] ** 2 * kernel
distance = np.linalg.solve(V, np.broadcast_to((y - y.mean())[:, None], (*share.shape, n, 1)))
log_likelihood = -0.5 * (np.linalg.slogdet(V)[1] + ((y - y.mean()) @ distance)[..., 0])
log_prior = -2.0 * np.log1p((total / (2.5 * unit)) ** 2 / 3)  # half-t with 3 degrees of freedom
weight = np.exp(log_likelihood + log_prior) * total  # the grid is even in log τ
mean = float((share * weight).sum() / weight.sum())
print(f"mean of h²: {mean:.4f} by brute force, {h2_row['mean']:.4f} by bayeslmm")
assert abs(mean - h2_row["mean"]) < 0.002

# %% [markdown]
# ### What five individuals cannot say
#
# Simulate 300 data sets without any heritability and 300 with that of the example, 0.735, and look
# at the posterior means. If five individuals could tell one from the other, the two histograms
# would be apart. One call fits all of them, since they share the GRM and the covariates.

# %%
rng = np.random.default_rng(13)
truths = {"0": (0.0, np.sqrt(0.34)), "0.735": (sigma_u, sigma_e)}
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
averages = {}
for truth, (sd_u, sd_e) in truths.items():
    genetic = sd_u * W @ rng.standard_normal((3, 300)) / np.sqrt(3)
    noise = sd_e * rng.standard_normal((5, 300))
    phenotypes = pd.DataFrame(fixed[:, None] + genetic + noise).rename(columns=str)
    means = bl.fit_traits(model, phenotypes, draws=400)["quadrature"]["mean"]
    averages[truth] = float(means.mean())
    axes.hist(means, bins=30, range=(0, 1), alpha=0.6, label=f"truth h² = {truth}")
axes.set(xlabel="posterior mean of h²", ylabel="data sets")
axes.legend()
print("average posterior mean:", {truth: round(mean, 3) for truth, mean in averages.items()})
assert all(0.4 < average < 0.6 for average in averages.values())
assert 0.0 < averages["0.735"] - averages["0"] < 0.1

# %% [markdown]
# Both average to about one half, which is the mean of the prior. Our data set, with 0.61, is an
# ordinary member of either group.
#
# And because the data say little, the prior says much. A colleague who believes in low
# heritabilities and one who believes in high ones both leave with what they came with:

# %%
rows = []
for words in ("beta(1, 1)", "beta(1, 5)", "beta(5, 1)"):
    other = bl.heritability(bl.fit(bl.models.additive(cohort, grm, h2=words)))
    found = other.set_index("quantity").loc["h2"]
    a_b = [float(x) for x in words.removeprefix("beta(").rstrip(")").split(",")]
    rows.append((words, beta_distribution(*a_b).mean(), *found[["mean", "lower", "upper"]]))
sensitivity = pd.DataFrame(
    rows, columns=["prior", "prior mean", "posterior mean", "lower", "upper"]
)
assert sensitivity["posterior mean"].max() - sensitivity["posterior mean"].min() > 0.4
sensitivity.round(3)

# %% [markdown]
# ### What they can say
#
# The effect of variant 1 fares better: its posterior is around the true 0.8 and far narrower than
# its prior (whose sd is ten times that of $y$ given $X$). But its interval still contains zero. The
# posterior draws are ordinary ArviZ data, so any ArviZ function shows this:

# %%
assert table.loc["beta[variant_1]", "lower"] < beta_1 < table.loc["beta[variant_1]", "upper"]
az.summary(tree, var_names=["beta", "h2"], ci_kind="eti", ci_prob=0.95)

# %% [markdown]
# ## What to take along
#
# - The GRM is an average of products of standardised dosages; its scale is a convention that has
#   to be stated, and with fewer variants than individuals it is singular.
# - Model $h^2$, realised PVE and the normalised shares are three different numbers. All three are
#   reported, under their own names.
# - An exact posterior can still be an empty one. Read the expected standard error and compare the
#   posterior with the prior before reading the mean.
#
# The next notebook, `02_heritability`, does the same with a sample from which something can be
# learnt.
