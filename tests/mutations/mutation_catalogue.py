"""Bugs that the suite has to see: one edit of our own code each, and the tests that must fail.

The rows of the catalogue are those that a simulation study finds hard or impossible to see
(a posterior that ignores the data, a GRM 2 % too large, two swapped individuals ...); most rows
stand more than once, because the package computes the same thing by several engines.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One bug.

    Parameters
    ----------
    row
        The kind of bug, as the catalogue calls it.
    where
        The file, from the top of the repository.
    old, new
        The text that is replaced, which stands there exactly once, and what takes its place.
    tests
        Arguments of pytest: the tests that should see it, the fastest first.
    """

    row: str
    where: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The row and the file."""
        return f"{self.row} ({self.where.removeprefix('bayeslmm/')})"


ROWS = (
    "ML for REML",
    "n for n - p",
    "dropped term",
    "half log-determinant",
    "posterior = prior",
    "GRM x 1.02",
    "2 of 200 IDs swapped",
    "10 % permuted",
    "wrong prior",
    "too wide",
    "too narrow",
    "wrong allele",
    "wrong sign",
    "wrong Jacobian",
)

QUADRATURE = ("tests/inference/exact/test_quadrature.py", "tests/likelihood/test_genetic_values.py")
LIKELIHOOD = ("tests/likelihood/test_one_kernel.py",)
DENSE = ("tests/likelihood/test_dense.py",)
LAPLACE = ("tests/inference/laplace/test_hyper.py", "tests/inference/test_fit.py")
DRAWS = ("tests/inference/exact/test_draws.py",)
LOW_RANK = ("tests/likelihood/test_low_rank.py",)
MULTITRAIT = ("tests/likelihood/test_traits.py",)
RELATIONSHIP = ("tests/relationship/test_relationship.py",)
GENOTYPES = ("tests/genotypes/test_plink.py", "tests/genotypes/test_genotypes.py")

CATALOGUE = (
    Mutation(
        "ML for REML",
        "bayeslmm/inference/exact/quadrature.py",
        "            total += np.log(spread) + w2[:, j, None] / spread\n",
        "            total += 2 * t + 0.0 * w2[:, j, None] / spread\n",
        QUADRATURE,
    ),
    Mutation(
        "ML for REML",
        "bayeslmm/likelihood/fixed_effects.py",
        "        return float(quadratic.level - log_det + 0.5 * len(quadratic.w) * LOG_2PI)\n",
        "        return float(quadratic.level)\n",
        DENSE,
    ),
    Mutation(
        "n for n - p",
        "bayeslmm/inference/exact/quadrature.py",
        "        total = const[:, None] + 2 * m * t + rows.rss[:, None] / variance\n",
        "        total = const[:, None] + 2 * (m + p) * t + rows.rss[:, None] / variance\n",
        QUADRATURE,
    ),
    Mutation(
        "n for n - p",
        "bayeslmm/priors/units.py",
        "    return float(np.sqrt(residual @ residual / (n - p)))\n",
        "    return float(np.sqrt(residual @ residual / n))\n",
        ("tests/priors/test_units.py",),
    ),
    Mutation(
        "dropped term",
        "bayeslmm/inference/exact/quadrature.py",
        "        const = (p + m) * LOG_2PI + kernel.log_d + kernel.log_S\n",
        "        const = (p + m) * LOG_2PI + kernel.log_d\n",
        QUADRATURE,
    ),
    Mutation(
        "dropped term",
        "bayeslmm/likelihood/one_kernel.py",
        "    logp = -0.5 * (count * LOG_2PI + log_d + rss + log_S + quadratic)\n",
        "    logp = -0.5 * (count * LOG_2PI + log_d + rss + quadratic)\n",
        LIKELIHOOD,
    ),
    Mutation(
        "dropped term",
        "bayeslmm/likelihood/one_kernel.py",
        "            log_d += many * math.log(d)\n",
        "            log_d += math.log(d)\n",
        LOW_RANK,
    ),
    Mutation(
        "dropped term",
        "bayeslmm/likelihood/kernel_marginal.py",
        "            out += np.linalg.solve(R, outside).reshape(out.shape)\n",
        "            out += 0.0 * np.linalg.solve(R, outside).reshape(out.shape)\n",
        LOW_RANK,
    ),
    Mutation(
        "dropped term",
        "bayeslmm/likelihood/contrasts.py",
        "            found += np.sqrt(self.b) * basis.outside(",
        "            found += 0.0 * basis.outside(",
        LOW_RANK,
    ),
    Mutation(
        "dropped term",
        "bayeslmm/likelihood/fixed_effects.py",
        "(left @ left) - np.log(np.diagonal(R)).sum())\n",
        "(left @ left))\n",
        DENSE,
    ),
    Mutation(
        "half log-determinant",
        "bayeslmm/likelihood/one_kernel.py",
        "    log_d += math.log(product)\n    if not cholesky_in_place(S):\n",
        "    log_d = 0.5 * (log_d + math.log(product))\n    if not cholesky_in_place(S):\n",
        LIKELIHOOD,
    ),
    Mutation(
        "half log-determinant",
        "bayeslmm/inference/exact/quadrature.py",
        "    return KernelRows(w, z, 1.0 / d, log_d, log_S, G, np.maximum(lam, 0.0), U)\n",
        "    return KernelRows(w, z, 1.0 / d, 0.5 * log_d, log_S, G, np.maximum(lam, 0.0), U)\n",
        QUADRATURE,
    ),
    Mutation(
        "half log-determinant",
        "bayeslmm/likelihood/dense.py",
        "    log_det = 2.0 * float(np.log(np.diagonal(L)).sum())\n    rss = float(z[:m] @ z[:m])\n",
        "    log_det = float(np.log(np.diagonal(L)).sum())\n    rss = float(z[:m] @ z[:m])\n",
        DENSE,
    ),
    Mutation(
        "half log-determinant",
        "bayeslmm/likelihood/traits.py",
        "    return level - n * log_det, A, w\n",
        "    return level - 0.5 * n * log_det, A, w\n",
        MULTITRAIT,
    ),
    Mutation(
        "posterior = prior",
        "bayeslmm/inference/exact/quadrature.py",
        "            return likelihood(coordinates.t(v)) + log_prior(column, v)\n",
        "            return 0.0 * likelihood(coordinates.t(v)) + log_prior(column, v)\n",
        QUADRATURE,
    ),
    Mutation(
        "posterior = prior",
        "bayeslmm/inference/laplace/laplace.py",
        "            return float(log_prior[i]) + integrate_beta(quadratic, mean, factor)\n",
        "            return float(log_prior[i])\n",
        LAPLACE,
    ),
    Mutation(
        "GRM x 1.02",
        "bayeslmm/relationship/relationship.py",
        "            matrix = np.divide(matrix, divisor, out=out)\n",
        "            matrix = np.divide(1.02 * matrix, divisor, out=out)\n",
        RELATIONSHIP,
    ),
    Mutation(
        "GRM x 1.02",
        "bayeslmm/relationship/cross_product.py",
        "        matrix /= self.count\n",
        "        matrix *= 1.02 / self.count\n",
        ("tests/relationship/test_genomic_grm.py",),
    ),
    Mutation(
        "2 of 200 IDs swapped",
        "bayeslmm/relationship/relationship.py",
        "        rows = None if same else self._rows(individuals)\n",
        "        rows = None if same else self._rows(individuals)\n"
        "        if rows is not None:\n"
        "            rows[:2] = rows[1::-1].copy()\n",
        RELATIONSHIP,
    ),
    Mutation(
        "10 % permuted",
        "bayeslmm/individuals.py",
        '    return Match(others.get_indexer(iids), "IID", fids_differ=all(has_families))\n',
        "    found = others.get_indexer(iids)\n"
        "    tenth = max(2, len(found) // 10)\n"
        "    found[:tenth] = found[:tenth][::-1].copy()\n"
        '    return Match(found, "IID", fids_differ=all(has_families))\n',
        ("tests/cohort/test_cohort.py", "tests/relationship/test_relationship.py"),
    ),
    Mutation(
        "wrong prior",
        "models/additive.py",
        '    h2: str = "beta(1, 1)",\n',
        '    h2: str = "beta(0.5, 0.5)",\n',
        ("tests/models/test_gallery.py", "-k", "default_priors"),
    ),
    Mutation(
        "wrong prior",
        "models/partitioned.py",
        '    parts: str = "dirichlet(1)",\n',
        '    parts: str = "dirichlet(0.5)",\n',
        ("tests/models/test_gallery.py", "-k", "default_priors"),
    ),
    Mutation(
        "too wide",
        "bayeslmm/inference/exact/draws.py",
        "    z = grid.coordinates.z(kernel.w[0] + position * (kernel.w[1] - kernel.w[0]))\n",
        "    z = grid.coordinates.z(kernel.w[0] + position * (kernel.w[1] - kernel.w[0]))\n"
        "    z = np.median(z) + 1.2 * (z - np.median(z))\n",
        DRAWS,
    ),
    Mutation(
        "too narrow",
        "bayeslmm/inference/exact/draws.py",
        "            b[k] += normal[i, k]\n",
        "            b[k] += 0.83 * normal[i, k]\n",
        DRAWS,
    ),
    Mutation(
        "too wide",
        "bayeslmm/likelihood/fixed_effects.py",
        "    return np.asarray(mean + factor @ np.linalg.solve(R, x + z))\n",
        "    return np.asarray(mean + factor @ np.linalg.solve(R, x + 1.2 * z))\n",
        DENSE,
    ),
    Mutation(
        "too narrow",
        "bayeslmm/likelihood/genetic_values.py",
        "        noise = np.sqrt(b) * rng.standard_normal(r.shape)\n",
        "        noise = 0.83 * np.sqrt(b) * rng.standard_normal(r.shape)\n",
        ("tests/likelihood/test_genetic_values.py",),
    ),
    Mutation(
        "wrong allele",
        "bayeslmm/genotypes/plink_readers.py",
        "        self._guard(method, *where, block)\n",
        "        self._guard(method, *where, block)\n"
        "        block[block >= 0] = 2 - block[block >= 0]\n",
        GENOTYPES,
    ),
    Mutation(
        "wrong allele",
        "bayeslmm/posterior/variant_effects.py",
        "        allele_mean=mean * aligned.weight,\n",
        "        allele_mean=-mean * aligned.weight,\n",
        ("tests/models/test_snp_effects.py",),
    ),
    Mutation(
        "wrong sign",
        "bayeslmm/likelihood/one_kernel.py",
        "    d_variance[1] = -0.5 * (trace_b - rss_b + tr_b) - a * cross\n",
        "    d_variance[1] = -0.5 * (trace_b - rss_b + tr_b) + a * cross\n",
        LIKELIHOOD,
    ),
    Mutation(
        "wrong sign",
        "bayeslmm/likelihood/one_kernel_solve.py",
        "    first = np.linalg.solve(S, (r[:, :p] - a * (",
        "    first = np.linalg.solve(S, (r[:, :p] + a * (",
        ("tests/likelihood/test_genetic_values.py",),
    ),
    Mutation(
        "wrong sign",
        "bayeslmm/inference/exact/quadrature.py",
        "        residual = residual - expit(kernel.z)[:, None] * (kernel.weights @ (C * e).T)\n",
        "        residual = residual + expit(kernel.z)[:, None] * (kernel.weights @ (C * e).T)\n",
        QUADRATURE,
    ),
    Mutation(
        "wrong Jacobian",
        "bayeslmm/priors/shares.py",
        "        return z.sum(axis=-1) - z.shape[-1] * log_sum\n",
        "        return z.sum(axis=-1) - (z.shape[-1] - 1) * log_sum\n",
        ("tests/priors/test_shares.py",),
    ),
    Mutation(
        "wrong Jacobian",
        "bayeslmm/inference/exact/marginal.py",
        "    densities = log_densities_of(model, hyper, jacobian=True)"
        "  # independent of each other\n",
        "    densities = log_densities_of(model, hyper, jacobian=False)\n",
        QUADRATURE,
    ),
    Mutation(
        "posterior = prior",
        "bayeslmm/comparison/loo/weights.py",
        "        weights[:, g], k[g], _ = smooth(-found.log_density[:, g])\n",
        "        weights[:, g], k[g], _ = smooth(0.0 * found.log_density[:, g])\n",
        ("tests/comparison/loo/test_elpd.py",),
    ),
    Mutation(
        "wrong sign",
        "bayeslmm/comparison/loo/weights.py",
        "        weights[:, g], k[g], _ = smooth(-found.log_density[:, g])\n",
        "        weights[:, g], k[g], _ = smooth(found.log_density[:, g])\n",
        ("tests/comparison/loo/test_elpd.py",),
    ),
    Mutation(
        "dropped term",
        "bayeslmm/comparison/loo/weights.py",
        "    spread = (each * (found.sd**2 + (found.mean - centre) ** 2)).sum(axis=0)\n",
        "    spread = (each * found.sd**2).sum(axis=0)\n",
        ("tests/comparison/loo/test_weights.py", "tests/comparison/loo/test_elpd.py"),
    ),
    Mutation(
        "wrong prior",
        "bayeslmm/checks/other_priors.py",
        "            other.log_density(own.explained, own.rest)\n"
        "            - own.prior.log_density(own.explained, own.rest)\n",
        "            other.log_density(own.explained, own.rest)\n"
        "            + own.prior.log_density(own.explained, own.rest)\n",
        ("tests/checks/test_other_priors.py", "tests/checks/test_sensitivity.py"),
    ),
    Mutation(
        "n for n - p",
        "bayeslmm/estimates/profile_likelihood.py",
        "    variance = rss / m\n",
        "    variance = rss / (m + 5)\n",
        ("tests/study/test_coverage.py",),
    ),
    Mutation(
        "wrong Jacobian",
        "bayeslmm/inference/laplace/nested.py",
        "    fine = float(np.log(np.exp(logs - peak).sum() * step) + peak)\n",
        "    fine = float(np.log(np.exp(logs - peak).sum() * 2 * step) + peak)\n",
        ("tests/inference/laplace/test_nested.py",),
    ),
)
