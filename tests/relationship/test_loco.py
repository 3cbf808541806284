"""LOCO kernels: subtraction gives what the genotypes give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import InputError
from bayeslmm.genotypes.genotypes import Genotypes, from_array
from bayeslmm.relationship.genomic import compute_grms, grm
from bayeslmm.relationship.loco import loco
from bayeslmm.relationship.variant_sets import by_chromosome


def genotypes(n: int = 40, m: int = 300, seed: int = 1) -> Genotypes:
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.1, 0.9, m), (n, m)).astype(float)
    dosages[rng.random((n, m)) < 0.02] = np.nan
    chromosome = np.sort(rng.integers(1, 5, m)).astype(str)
    table = pd.DataFrame(
        {
            "CHROM": chromosome,
            "POS": np.arange(1, m + 1),
            "ID": [f"v{k}" for k in range(m)],
            "A1": "A",
            "A0": "C",
        }
    )
    return from_array(dosages, variants=table)


@pytest.mark.parametrize("kind", ["additive", "dominance"])
def test_equals_the_genotypes_of_the_other_chromosomes(kind: str) -> None:
    data = genotypes()
    parts = compute_grms(data, (kind,), by_chromosome(data))  # type: ignore[arg-type]
    found = loco(parts)
    assert list(found) == [kind, *(f"loco:{name}" for name in parts)]
    for name, members in {"": [], **{str(c): [str(c)] for c in range(1, 5)}}.items():
        rest = ~data.variants["CHROM"].isin(members).to_numpy()
        (direct,) = compute_grms(data.select(variants=rest), (kind,)).values()  # type: ignore[arg-type]
        key = next((k for k in found if k.endswith(f"chr{name}") and name), kind)
        np.testing.assert_allclose(found[key].matrix, direct.matrix, rtol=0, atol=1e-10)
        assert found[key].n_variants == direct.n_variants
        assert found[key].name == key


def test_the_whole_is_the_grm() -> None:
    data = genotypes()
    found = loco(compute_grms(data, sets=by_chromosome(data)))
    np.testing.assert_allclose(found["additive"].matrix, grm(data).matrix, rtol=0, atol=1e-12)


def test_what_does_not_go_together_is_refused() -> None:
    data = genotypes()
    parts = compute_grms(data, sets=by_chromosome(data))
    one, two = parts["chr1"], parts["chr2"]
    with pytest.raises(InputError, match="two or more chromosomes"):
        loco({"chr1": one})
    with pytest.raises(InputError, match="'chr2' with None variants"):
        loco({"chr1": one, "chr2": replace(two, n_variants=None)})
    with pytest.raises(InputError, match=r"factor 2 -> unscaled"):
        loco({"chr1": one, "chr2": replace(two, factor=2.0)})
    with pytest.raises(InputError, match="different estimators or individuals"):
        loco({"chr1": one, "chr2": replace(two, estimator="dominance")})
    with pytest.raises(InputError, match="different estimators or individuals"):
        loco({"chr1": one, "chr2": two.on(two.individuals[::-1], "none")})
