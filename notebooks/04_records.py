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
# # Repeated records and pedigrees
#
# In the first notebook every individual had one record, and $Z$ was the identity. Here it is not.
#
# $$ y = X\beta + Zu + \varepsilon, \qquad u \sim N(0, \sigma_u^2 A), \qquad
#    \varepsilon \sim N(0, \sigma_e^2 I) $$
#
# $Z$ has a row for each record and a column for each individual, with a one where the record is
# the individual's. And the relationships come from a pedigree instead of genotypes: $A$ in place
# of $G$. First six animals by hand, with published numbers; then a herd.

# %%
import json
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.linalg import block_diag

import bayeslmm as bl

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. Six animals
#
# The pedigree of Mrode's textbook (2014, table 2.1). Rows may stand in any order, parents may be
# unknown, and animals 1 and 2 have no row of their own.

# %%
(folder / "six.tsv").write_text("""animal sire dam
6 5 2
5 4 3
3 1 2
4 1 NA
""")
six = bl.read_pedigree(folder / "six.tsv")
A = bl.additive_relationship(six)
ids = list(A.individuals.get_level_values("IID"))
by_age = np.argsort(ids)
pd.DataFrame(A.matrix, ids, ids).loc[sorted(ids), sorted(ids)]

# %% [markdown]
# $A_{ij}$ is the covariance of the additive values of two animals in units of the additive
# variance of the *base population*, the founders without known parents. The diagonal is one plus
# the inbreeding coefficient: the parents of 5 are half-sibs, those of 6 are related, too.
#
# Unlike a GRM, $A$ is *not* divided by its average semivariance: its scale has a meaning of its
# own. So $\sigma_u^2$ is $V_A$, as breeders and evolutionary biologists mean it. Every output says
# so.

# %%
printed_by_mrode = """
1.00 0.00 0.50  0.50  0.50  0.25
0.00 1.00 0.50  0.00  0.25  0.625
0.50 0.50 1.00  0.25  0.625 0.563
0.50 0.00 0.25  1.00  0.625 0.313
0.50 0.25 0.625 0.625 1.125 0.688
0.25 0.625 0.563 0.313 0.688 1.125
"""
mrode = np.array(printed_by_mrode.split(), dtype=float).reshape(6, 6)
assert np.allclose(A.matrix[np.ix_(by_age, by_age)], mrode, atol=6e-4)  # three decimals
assert np.allclose(np.diag(A.matrix)[by_age] - 1, [0, 0, 0, 0, 0.125, 0.125])  # inbreeding
assert A.on(A.individuals).factor == 1.0

# %% [markdown]
# The inverse of $A$ is nearly empty: an animal is tied to its parents, its offspring and its mates
# only. Henderson's rules write it down without inverting anything.

# %%
inverse = bl.invert_relationship(six)
assert np.allclose(inverse.toarray() @ A.matrix, np.eye(6))
print(f"{inverse.nnz} of {6 * 6} entries of the inverse are not zero")

# %% [markdown]
# A pedigree in which an animal is its own ancestor is refused, and the message says who.

# %%
(folder / "loop.tsv").write_text("animal sire dam\nAda Bob NA\nBob Carl NA\nCarl NA Ada\n")
try:
    bl.read_pedigree(folder / "loop.tsv")
except bl.InputError as error:
    message = str(error)
assert "Ada" in message
print(message.replace(str(folder), "..."))

# %% [markdown]
# ## 2. $Z$
#
# Seven records of four of the animals: one of animal 3, three of 4, two of 5, one of 6. The table
# has a row for each record.

# %%
(folder / "seven.tsv").write_text("""animal weight
4 6.1
5 4.9
3 4.2
4 5.3
6 4.4
4 5.8
5 5.2
""")
table = bl.read_records(folder / "seven.tsv", "animal")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bl.BayesLMMWarning)  # seven records are few, it rightly says
    (cohort,) = bl.record_cohorts(table, ["weight"], individuals=A.individuals)
Z = np.zeros((cohort.n, A.n))
Z[np.arange(cohort.n), A.individuals.get_indexer(cohort.individuals)] = 1
assert (Z.sum(axis=1) == 1).all()
assert sorted(Z.sum(axis=0)) == [0, 0, 1, 1, 2, 3]
pd.DataFrame(Z, cohort.labels, ids).astype(int)

# %% [markdown]
# Two records of an animal share its genetic value: their covariance is $A_{ii}\sigma_u^2$, all of
# its variance. Records of two animals have the animals' covariance. So the records' covariance
# matrix is $V = ZAZ^\top\sigma_u^2 + I\sigma_e^2$, and bayeslmm has $Z$ as `cohort.levels`.

# %%
among = A.on(cohort.people).matrix
records = among[np.ix_(cohort.levels, cohort.levels)]
assert np.allclose(records, Z @ A.matrix @ Z.T)
pd.DataFrame(records, cohort.labels, cohort.labels).round(3)

# %% [markdown]
# ## 3. Predicting $u$
#
# Let $\sigma_u^2 = 1$ and $\sigma_e^2 = 2$ be known. Then $\beta$ and $u$ have closed forms. One
# is $\hat u = \sigma_u^2 A Z^\top V^{-1}(y - X\hat\beta)$. The other, Henderson's mixed model
# equations, needs $A^{-1}$ and never $V$:
#
# $$ \begin{pmatrix} X^\top X & X^\top Z \\ Z^\top X & Z^\top Z + A^{-1}\sigma_e^2/\sigma_u^2
#    \end{pmatrix} \begin{pmatrix} \hat\beta \\ \hat u \end{pmatrix} =
#    \begin{pmatrix} X^\top y \\ Z^\top y \end{pmatrix} $$

# %%
X, y = cohort.X, cohort.y
V = Z @ A.matrix @ Z.T + 2.0 * np.eye(7)
b = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, y))
u = A.matrix @ Z.T @ np.linalg.solve(V, y - X @ b)

both = np.hstack([X, Z])
left = both.T @ both + block_diag(0.0, 2.0 * inverse.toarray())
henderson = np.linalg.solve(left, both.T @ y)
assert np.allclose(henderson, np.concatenate([b, u]))
pd.Series(u, ids, name="u").sort_index().round(3)

# %% [markdown]
# Animals 1 and 2 have no record, and still a prediction: their offspring speak for them. All
# values are *shrunk* toward zero, the fewer records the more.
#
# ## 4. A herd
#
# Now the variances are unknown. 8 sires and 40 dams, two generations of offspring, one to four
# yearly records of the cows. The last 40 calves have none yet. $V_A = 1$; what else stays with an
# animal for life (its *permanent environment*) has the variance 0.5, the residual 1.5.

# %%
rng = np.random.default_rng(3)
sizes = (48, 110, 110)
generation = np.repeat([0, 1, 2], sizes)
q = len(generation)
sire, dam, breeding = np.full(q, -1), np.full(q, -1), np.zeros(q)
male = rng.random(q) < 0.4
male[:48] = np.arange(48) < 8
for i in range(q):
    if generation[i] == 0:
        breeding[i] = rng.standard_normal()
        continue
    before = np.flatnonzero(generation == generation[i] - 1)
    sire[i] = rng.choice(before[male[before]][:8])
    dam[i] = rng.choice(before[~male[before]])
    # half of each parent and a Mendelian sample (parents here are hardly inbred)
    breeding[i] = (breeding[sire[i]] + breeding[dam[i]]) / 2 + np.sqrt(0.5) * rng.standard_normal()
name = np.array([f"a{i:03d}" for i in range(q)])
known = np.where(sire[:, None] >= 0, name[np.stack([sire, dam], axis=1)], "NA")
herd = pd.DataFrame({"animal": name, "sire": known[:, 0], "dam": known[:, 1]})
herd.sample(frac=1, random_state=1).to_csv(folder / "herd.tsv", sep="\t", index=False)

# %%
counts = np.where(np.arange(q) < q - 40, rng.integers(1, 5, q), 0)
who = np.repeat(np.arange(q), counts)
year = 2001 + rng.integers(0, 4, len(who))
permanent = np.sqrt(0.5) * rng.standard_normal(q)
yields = pd.DataFrame({"animal": name[who], "year": year})
yields["milk"] = (
    25
    + np.array([0.0, 0.8, -0.5, 0.3])[year - 2001]
    + breeding[who]
    + permanent[who]
    + np.sqrt(1.5) * rng.standard_normal(len(who))
).round(3)
yields.to_csv(folder / "milk.tsv", sep="\t", index=False)
yields.head(3)

# %% [markdown]
# From here on it is an analysis as of any other files: the pedigree, the records, the years as a
# categorical fixed effect.

# %%
pedigree = bl.read_pedigree(folder / "herd.tsv")
additive = bl.additive_relationship(pedigree)
(cohort,) = bl.record_cohorts(
    bl.read_records(folder / "milk.tsv", "animal"),
    ["milk"],
    individuals=additive.individuals,
    formula="~ C(year)",
)
assert cohort.n == counts.sum()
assert len(cohort.people) == (counts > 0).sum()
print(f"{cohort.n} records of {len(cohort.people)} of {additive.n} animals; {cohort.covariates}")

# %% [markdown]
# ## 5. Three variances
#
# The model `repeated` adds the permanent environment, $y = X\beta + Zu + Zc + \varepsilon$ with $c
# \sim N(0, \sigma_c^2 I)$. Without it, everything that an animal's records have in common would be
# taken for genes. Relatives share $u$, not $c$: that is what tells the two apart.

# %%
model = bl.models.repeated(cohort, additive)
tree = bl.fit(model, draws=2000, seed=1)
print(tree.attrs["engine_reason"])
for prior, words in json.loads(tree.attrs["priors"]).items():
    print(f"prior of {prior}: {words}")

# %%
table = bl.heritability(tree).set_index("quantity")
truth = {
    "h2": 1 / 3,
    "repeatability": 1.5 / 3,
    "sigma2[additive]": 1.0,
    "sigma2[permanent]": 0.5,
    "sigma2[residual]": 1.5,
}
against = table.loc[list(truth), ["mean", "sd", "mode", "lower", "upper"]].assign(
    truth=pd.Series(truth)
)
assert bl.diagnose(tree).ok
assert table.loc["pareto_k", "mean"] < 0.7
assert ((against["truth"] - against["mean"]).abs() < 3 * against["sd"]).all()
print(bl.diagnose(tree).verdict)
against.round(3)

# %% [markdown]
# The *repeatability* is the share of the variance that the records of an animal have in common,
# genetic or not; it is the ceiling of $h^2$. It is known far better than its two parts. The prior
# of the parts: together uniform between 0 and 1, and uniform how they divide it.

# %%
posterior = tree["posterior"]
h2, repeatability = (posterior[x].to_numpy().ravel() for x in ("h2", "repeatability"))
prior = tree["prior"]["h2"].to_numpy().ravel()
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
bins = np.linspace(0, 1, 61)
axes.hist(h2, bins, density=True, alpha=0.6, label="heritability")
axes.hist(repeatability, bins, density=True, alpha=0.6, label="repeatability")
axes.hist(prior, bins[::3], density=True, histtype="step", color="black", label="prior of h²")
for value in (truth["h2"], truth["repeatability"]):
    axes.axvline(value, color="grey", lw=1)
axes.set(xlabel="share of the variance (grey: truth)", ylabel="density", xlim=(0, 1))
axes.legend()
assert (h2 < repeatability).all()
assert repeatability.std() < h2.std()

# %% [markdown]
# ## 6. Breeding values
#
# What a breeder wants is $u$, also of the calves. `prediction_table` has everybody in the
# pedigree. Nothing is plugged in: every posterior draw of the variances has its own $\hat u$ and
# its own uncertainty, and the table is their mixture. *Reliability* is the part of the prior
# variance of a breeding value that the data took away.

# %%
values = bl.prediction_table(model, tree, cohort, {"additive": additive})
values["truth"] = breeding[np.searchsorted(name, values["IID"])]
assert len(values) == q
values["records"] = values["IID"].map(pd.Series(counts, name))
print("mean reliability by number of records:")
print(values.groupby("records")["reliability"].mean().round(2).to_dict())
assert (values["phenotyped"] == (values["records"] > 0)).all()
values.head().round(2)

# %% tags=["picture"]
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
points = axes.scatter(
    values["mean"], values["truth"], c=values["reliability"], s=12, cmap="viridis"
)
axes.axline((0, 0), slope=1, color="grey", lw=1)
axes.set(xlabel="predicted breeding value (posterior mean)", ylabel="true breeding value")
figure.colorbar(points, label="reliability")
plt.show()

# %% [markdown]
# Is it true what the table says of itself? The squared correlation of prediction and truth should
# be about the mean reliability (roughly: the calves are only 40), 95 % of the intervals should
# contain the truth, and the calves should be predicted worse than the cows.

# %%
calf = ~values["phenotyped"]
inside = values["truth"].between(values["lower"], values["upper"])
check = pd.DataFrame(
    {
        "reliability": values.groupby(calf)["reliability"].mean(),
        "r² with the truth": values.groupby(calf)[["mean", "truth"]].corr().iloc[::2, 1].to_numpy()
        ** 2,
        "in the interval": inside.groupby(calf).mean(),
    }
).rename(index={False: "with records", True: "calves"})
assert 0.9 < inside.mean() < 0.99
assert check.loc["calves", "reliability"] < check.loc["with records", "reliability"]
assert (
    abs(check.loc["with records", "reliability"] - check.loc["with records", "r² with the truth"])
    < 0.2
)
check.round(2)

# %% [markdown]
# A calf is the mean of its parents and a Mendelian sample that nobody has seen. So its reliability
# cannot exceed one half, however many records its parents have.

# %%
assert values.loc[calf, "reliability"].max() < 0.5
summary = tree["posterior"]["pve_share"]
assert np.allclose(summary.sum("pve_part"), 1.0)
summary.mean(("chain", "draw")).to_series().round(3)

# %% [markdown]
# On the command line:
#
# ```
# bayeslmm h2 --pedigree herd.tsv --pheno milk.tsv --id-column animal --pheno-name milk \
#     --formula "~ C(year)" --model repeated --predict --out milk
# ```
#
# Groups that share an environment (herds, nests, households) come with `--model household
# --group-column herd`, maternal effects with `--model maternal`.
