"""The gallery: every file of models/ by glob, the loader, the contract, the README's example.

Every file in models/ needs a case in `model_cases`: its data, and the covariance of its records
written out. Here each is built on them and compared with dense formulas in extended precision.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from compiled_models import PYTHON, Compiled, compiled
from kernel_problems import Problem, problems
from model_cases import Case, case, cases
from oracles import LOG_2PI, LONG, log_normal_density, relative

from bayeslmm import modelling, models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.distributions.phenotype import set_phenotype
from bayeslmm.errors import InputError, ModelError
from bayeslmm.models import gallery
from bayeslmm.models.contract import check_contract
from bayeslmm.models.file import ModelFile
from bayeslmm.models.gallery import folder, load, names
from bayeslmm.priors.units import units
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

# PyTensor looks for a BLAS of its own, once, when it meets the LKJ prior of three traits
pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")

GALLERY = sorted(path.stem for path in Path(__file__).parents[2].joinpath("models").glob("*.py"))
COUPLED = problems()["uncentred GRM, 4 covariates"]
ADDITIVE = case("additive", "uncentred GRM, 4 covariates")

EACH_MODEL = pytest.mark.parametrize("name", GALLERY)
EACH_CASE = pytest.mark.parametrize("one", cases(), ids=str)
# of the nine problems of one kernel, two where a change of the data is looked at
SOME_CASES = pytest.mark.parametrize(
    "one",
    [
        one
        for one in cases()
        if one.name not in problems()
        or one.name in ("uncentred GRM, 4 covariates", "fewer variants than individuals")
    ],
    ids=str,
)


def compare(compiled: Compiled, y: Any, points: list[Any]) -> None:
    """Density 1e-8, gradient 1e-6 of max(1, |.|), against the dense ones.

    At the edges an entry of the gradient can be a difference of terms as large as the largest
    entry times 1e3 (the year of 1990): 1e-12 of the largest entry is allowed in the others; with
    several traits, on scales that differ by 100, 1e-10.
    """
    found = [compiled.parts(point) for point in points]
    likelihood, cotangents = dense(compiled.case, y, [f[2] for f in found])
    prior = np.array([f[1] for f in found])
    assert relative([f[0] for f in found], likelihood + prior) < 1e-8
    part = 1e-6 if compiled.case.cohort.trait_index is None else 1e-4
    for k, point in enumerate(points):
        expected = compiled.pull(point, [c[k] for c in cotangents])
        scale = np.maximum(np.abs(expected), max(1.0, part * np.abs(expected).max()))
        assert np.max(np.abs(found[k][3] - expected) / scale) < 1e-6


def dense(one: Case, y: Any, parts: list[list[Any]]) -> tuple[Any, list[Any]]:
    """Log likelihood and cotangents of [β, coefficients(, g)] at many points by dense formulas."""
    X = one.cohort.X
    beta, c = (np.stack([part[k] for part in parts]) for k in range(2))
    if len(parts[0]) == 2:
        logp, d_beta, d_c = log_normal_density(y, X, one.parts, beta, c)
        return logp, [d_beta, d_c]
    g = np.stack([part[2] for part in parts]).astype(LONG)
    residual = y - beta.astype(LONG) @ X.T - g
    b, n = c[:, -1:].astype(LONG), y.size
    square = (residual**2).sum(axis=1, keepdims=True)
    d_c = np.zeros(c.shape, dtype=LONG)
    d_c[:, -1:] = (square / b - n) / (2 * b)
    logp = -0.5 * (n * (LOG_2PI + np.log(b)) + square / b)[:, 0]
    return logp, [residual @ X / b, d_c, residual / b]


@EACH_CASE
def test_density_and_gradient_are_the_dense_ones(one: Case) -> None:
    """Points in PyMC's unconstrained space, 2 in 5 of them where a share goes to zero.

    Density 1e-8 and gradient 1e-6 of max(1, |.|). The oracle takes β and the variances as the
    model computes them: at the edge 1 - h² itself has 8 digits in float64.
    """
    model = compiled(one)
    count = 200 if one.name in problems() else 40 if one.cohort.n < 30 else 15
    compare(model, one.cohort.y, model.points(seed=1, count=count))


@pytest.mark.parametrize("name", ["dominance", "partitioned", "repeated", "maternal", "gxe"])
def test_several_kernels_without_a_residual(name: str) -> None:
    """The residual's share at 1e-8: a float64 Cholesky factor of V, whose condition number is up
    to 1e9 here, keeps half of the digits; density to 1e-5 of max(1, |.|), or -inf where V is not
    positive definite in float64.
    """
    one = case(name)
    model = compiled(one)
    points = model.points(seed=2, count=30)[12:]
    where = [value.name for value in model.values].index("share_logratio__")
    for point in points:
        point[where] = point[where] - np.log(1e-8)
    found = [model.parts(point) for point in points]
    expected = dense(one, one.cohort.y, [f[2] for f in found])[0] + np.array([f[1] for f in found])
    finite = np.isfinite([f[0] for f in found])
    assert finite.sum() > 12
    assert relative(np.array([f[0] for f in found])[finite], expected[finite]) < 1e-5


def log_integral(compiled: Compiled, point: dict[str, Any]) -> float:
    """Log ∫ p(y, z, rest) dz: log p is a quadratic in z, so the Gaussian integral is exact."""
    names = [v.name for v in compiled.values]
    where = names.index("g_z")
    sizes = [np.size(point[n]) if n != "g_z" else 0 for n in names[:where]]

    def at(z: Any) -> tuple[float, Any]:
        logp, _, _, gradient = compiled.parts([point[n] if n != "g_z" else z for n in names])
        return logp, gradient[sum(sizes) : sum(sizes) + z.size]

    rank = int(compiled.model["g_z"].shape.eval()[0])
    logp, slope = at(np.zeros(rank))
    precision = np.stack([slope - at(row)[1] for row in np.eye(rank)])
    peak = np.linalg.solve(precision, slope)
    log_det = np.linalg.slogdet(precision)[1]
    return float(logp + 0.5 * slope @ peak + 0.5 * rank * np.log(2 * np.pi) - 0.5 * log_det)


@pytest.mark.parametrize("problem", problems().values(), ids=lambda p: p.name)
def test_the_latent_model_is_the_marginal_one_with_g_integrated_out(problem: Problem) -> None:
    """log p(y, β, h², τ) is the same of both files, priors included; 1e-9."""
    marginal = compiled(case("additive", problem.name))
    latent = compiled(case("additive_cholesky", problem.name))
    for point in marginal.points(seed=2, count=60)[40:]:
        named = dict(zip([v.name for v in marginal.values], point, strict=True))
        if abs(named["h2_logodds__"]) > 6:
            continue
        expected = marginal.logp(point)
        assert log_integral(latent, named) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "name", ["centred GRM, X = 1", "uncentred GRM, 4 covariates", "fewer variants than individuals"]
)
def test_one_part_is_the_additive_model(name: str) -> None:
    """`partitioned` with one kernel: the same log p at the same coordinates, priors included."""
    one = case("additive", name)
    marginal = compiled(one)
    parted = Compiled(load("partitioned")(one.cohort, *one.matrices), one)
    assert [v.name for v in parted.values] == ["beta_std", "share_logratio__", "total_sd_log__"]
    for point in marginal.points(seed=3, count=60)[12:]:
        same = [point[0], np.atleast_1d(point[1]), point[2]]
        if abs(point[1]) < 12:
            assert parted.logp(same) == pytest.approx(marginal.logp(point), rel=1e-9)


# Invariances


def same_genetics(old: Compiled, new: Compiled, point: list[Any], order: Any, c: Any) -> Any:
    """The point with τ |c|, and z of the new factor that gives c g, reordered."""
    moved = [np.array(value) for value in point]
    for k, value in enumerate(old.values):
        if value.name == "total_sd_log__":
            moved[k] = moved[k] + np.log(np.abs(c if moved[k].ndim else c[0]))
        if value.name == "g_z":
            L, M = old.model["g"].tag.factor, new.model["g"].tag.factor
            moved[k] = np.linalg.lstsq(M, np.sign(c[0]) * (L @ moved[k])[order], rcond=None)[0]
        if value.name == "beta_std":
            moved[k] = moved[k] * np.sign(c[0])
    return moved


def changed(one: Case, order: Any, y: Any) -> Compiled:
    """The model of the same records in another order, with another y."""
    old = one.cohort
    records = None if old.records is None else tuple(np.array(old.records)[order])
    cohort = Cohort(
        y[order],
        np.ascontiguousarray(old.X[order]),
        old.individuals[order],
        old.covariates,
        old.trait,
        records=records,
        trait_index=old.trait_index,
        traits=old.traits,
        columns=None if old.columns is None else old.columns.iloc[order].reset_index(drop=True),
    )
    return Compiled(load(one.model)(cohort, *one.matrices), one)


def another_order(cohort: Cohort) -> Any:
    """A permutation of the records that leaves a trait's together, and the groups in their order.

    The order in which groups first appear is that of the coordinates of their variances.
    """
    rng = np.random.default_rng(3)
    if cohort.trait_index is not None:
        several = range(len(cohort.traits))
        people = rng.permutation(len(cohort.people))
        found = []
        for trait in several:
            rows = np.flatnonzero(cohort.trait_index == trait)
            found.append(rows[np.argsort(people[cohort.levels[rows]])])
        return np.concatenate(found)
    there = cohort.columns is not None and "group" in cohort.columns
    groups = np.array(cohort.column_text("group")) if there else np.zeros(cohort.n)
    while True:
        order = rng.permutation(cohort.n)
        if list(dict.fromkeys(groups[order])) == list(dict.fromkeys(groups)):
            return order


@SOME_CASES
def test_order_and_scale_do_not_matter(one: Case) -> None:
    """Records in another order and y → a + c y: log p minus n log|c|, of each trait its own c.

    To 1e-10 of the sum of its parts; 1e-9 with the uncentred year, of which Xβ keeps fewer digits,
    and with several kernels, whose Cholesky factor has the condition of V.
    """
    exact = 1e-10 if one.spectral and np.abs(one.cohort.X).max() < 100 else 1e-9
    base, cohort = compiled(one), one.cohort
    order = another_order(cohort)
    c = -2.5 * 0.1 ** np.arange(len(cohort.trait_names))
    index = np.zeros(cohort.n, dtype=int) if cohort.trait_index is None else cohort.trait_index
    other = changed(one, order, 11.0 + c[index] * cohort.y)
    for point in base.points(seed=4, count=30)[12:]:
        moved = same_genetics(base, other, point, order, c)
        expected = base.logp(point) - np.log(np.abs(c[index])).sum()
        assert other.logp(moved) == pytest.approx(expected, rel=exact)


@EACH_MODEL
def test_the_scale_of_the_matrix_does_not_matter(name: str) -> None:
    """GEMMA's or GCTA's factor: the kernel is scaled on the individuals themselves.

    1e-10, or 1e-9 where a Cholesky factor sees another rounding of V.
    """
    one = ADDITIVE if name == "additive" else case(name, "kernel scale asv" * (name == "maternal"))
    base = compiled(one)
    larger = [
        replace(r, W=17.0 * r.W)
        if isinstance(r, Variants)
        else replace(r, matrix=17.0 * r.matrix)
        if r.kernel_scale == "asv"
        else r
        for r in one.matrices
    ]
    assert any(a is not b for a, b in zip(larger, one.matrices, strict=True))
    other = Compiled(load(name)(one.cohort, *larger), one)
    same = np.ones(len(one.cohort.trait_names))
    for point in base.points(seed=5, count=20)[8:]:
        moved = same_genetics(base, other, point, np.arange(one.cohort.n), same)
        assert other.logp(moved) == pytest.approx(
            base.logp(point), rel=1e-10 if one.spectral else 1e-9
        )


@SOME_CASES
def test_a_compiled_model_with_another_phenotype(one: Case) -> None:
    """`set_phenotype`: the compiled functions give the dense density and gradient of the new y."""
    model, old = compiled(one), one.cohort
    points = model.points(seed=6, count=20)[8:]
    y = old.y[::-1] * np.linspace(1.0, 3.0, old.n)
    try:
        set_phenotype(model.model, y)
        compare(model, y, points)
        unit, centre = units(y, old.X, old.trait_index)
        np.testing.assert_allclose(model.model["phenotype_unit"].get_value(), unit, rtol=1e-9)
        np.testing.assert_allclose(model.model["phenotype_centre"].get_value(), centre, rtol=1e-9)
        fresh = changed(one, np.arange(old.n), y).model
        for name in ("phenotype_observed", "phenotype_rotated"):
            if name in fresh.named_vars:
                expected = fresh[name].get_value()
                np.testing.assert_allclose(
                    model.model[name].get_value(), expected, rtol=1e-9, atol=1e-9
                )
    finally:
        set_phenotype(model.model, old.y)
    compare(model, old.y, points[:3])


# Files and the loader


def test_the_gallery_is_found_in_the_checkout() -> None:
    assert folder().resolve() == Path(__file__).resolve().parents[2] / "models"
    assert names() == GALLERY
    assert {"additive", "additive_cholesky"} <= set(GALLERY)
    assert not (folder() / "__init__.py").exists()


def test_in_a_wheel_the_gallery_is_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "_models"
    inside.mkdir()
    (inside / "only.py").write_text('"""Only."""\n')
    monkeypatch.setattr(gallery, "__file__", str(tmp_path / "models" / "gallery.py"))
    assert names() == ["only"]
    assert load("only").doc == "Only."


def test_every_model_has_a_case() -> None:
    assert {one.model for one in cases()} == set(GALLERY)


@EACH_MODEL
def test_each_file_is_complete(name: str) -> None:
    """A docstring with the equation, the priors and a reference; priors by keyword; short."""
    file = load(name)
    for word in ("Priors:", "Reference:"):
        assert word in file.doc
    assert re.search(r"^    y(_t)? = ", file.doc, flags=re.MULTILINE)
    assert file.matrices()[:1] in (["additive"], ["variants"]) or file.more() == "kernels"
    assert {"total_sd", "beta"} < set(file.priors())
    assert {"h2", "explained"} & set(file.priors())
    assert len(file.source.splitlines()) <= 75
    assert file.source == file.path.read_text(encoding="utf-8")
    one = case(name)
    check_contract(compiled(one).model, one.cohort, file.path)


@EACH_MODEL
def test_priors_by_their_text(name: str) -> None:
    """Every prior as the command line gives it: another one, and its default, in words."""
    file, one = load(name), case(name)
    other = {"h2": "beta(2, 3)", "explained": "beta(2, 3)", "parts": "dirichlet(0.5)",
             "total_sd": "half_normal(4)", "beta": "flat()", "eta": "2"}  # fmt: skip
    model = file(one.cohort, *one.matrices, **{key: other[key] for key in file.priors()})
    point = {key: np.asarray(value) for key, value in model.initial_point(1).items()}
    assert np.isfinite(pytensor.function(model.value_vars, model.logp(), mode=PYTHON)(
        *(point[value.name] for value in model.value_vars)
    ))  # fmt: skip
    default = file(one.cohort, *one.matrices, **file.priors())
    assert list(default.named_vars) == list(compiled(one).model.named_vars)
    for prior in file.priors():
        with pytest.raises(InputError):
            file(one.cohort, *one.matrices, **{prior: "lognormel(1)"})


@EACH_MODEL
def test_default_priors_are_those_that_the_readme_states(name: str) -> None:
    """Uniform h², or uniform share of all components and uniform parts of it; the rest is weak."""
    stated = {"h2": "beta(1, 1)", "explained": "beta(1, 1)", "parts": "dirichlet(1)", "eta": "1.0",
              "total_sd": "half_t(3, 2.5)", "beta": "normal(0, 10)"}  # fmt: skip
    found = load(name).priors()
    assert {"beta", "total_sd"} < set(found)
    assert found == {key: stated[key] for key in found}


@EACH_MODEL
def test_provenance(name: str) -> None:
    file, one = load(name), case(name)
    found = compiled(one).model.provenance
    assert (found["model"], found["model_file"]) == (name, f"{name}.py")
    assert found["model_sha256"] == file.sha256
    assert len(file.sha256) == 64
    assert (found["trait"], found["n"]) == (one.cohort.trait, one.cohort.n)
    assert (found["family"], found["scale"]) == ("Gaussian", "observed scale")
    assert found["ledger"] == one.cohort.ledger.records()
    scaled = [
        (matrix.relationship() if isinstance(matrix, Variants) else matrix)
        .on(one.cohort.people)
        .provenance()
        for matrix in one.matrices
        if isinstance(matrix, Relationship | Variants)
    ]
    assert list(found["relationships"].values()) == scaled


def test_models_are_attributes_of_the_module() -> None:
    assert models.additive == load("additive")
    with pytest.raises(AttributeError, match=r"no attribute 'addative'; models: \['additive'"):
        _ = models.addative


def test_calling_by_position_and_by_name() -> None:
    cohort, K = COUPLED.cohort, COUPLED.relationship()
    file = load("additive")
    built = [file(cohort, K), file(cohort, additive=K), file.build(cohort, {"additive": K}, {})]
    assert len({tuple(sorted(model.named_vars)) for model in built}) == 1
    changed = file(cohort, K, h2="beta(2, 2)", beta="normal(0, 1)")
    assert changed["h2"].tag.words == "Beta(2, 2)"
    assert file.priors() == {
        "h2": "beta(1, 1)",
        "total_sd": "half_t(3, 2.5)",
        "beta": "normal(0, 10)",
    }


def test_wrong_arguments_are_errors_that_name_them() -> None:
    cohort, K, file = COUPLED.cohort, COUPLED.relationship(), load("additive")
    with pytest.raises(InputError, match=r"additive\.py: the model needs the relationship additi"):
        file(cohort)
    with pytest.raises(InputError, match="2 relationships -> at most 1: additive"):
        file(cohort, K, K)
    with pytest.raises(InputError, match=r"no prior or matrix h3 .* one of additive, h2, total_sd"):
        file(cohort, K, h3="beta(1,1)")
    with pytest.raises(InputError, match="no prior or matrix dominance"):
        file.build(cohort, {"additive": K, "dominance": K}, {})
    with pytest.raises(InputError, match="prior family 'bta'"):
        file(cohort, K, h2="bta(1,1)")


def write(path: Path, text: str) -> ModelFile:
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_users_file_by_its_path(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", load("additive").source)
    assert (file.name, file.path) == ("mine", tmp_path / "mine.py")
    assert file.sha256 == load("additive").sha256
    model = file(COUPLED.cohort, COUPLED.relationship())
    assert model.provenance["model_file"] == "mine.py"
    assert load(str(tmp_path / "mine.py")) == file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("addative", "no model 'addative' -> one of additive, additive_cholesky.* models list"),
        ("", "no model ''"),
        ("none.py", r"none\.py: no such file"),
        ("./none", r"\./none: no such file"),
        ("..", "no model"),
    ],
)
def test_unknown_models(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(name)


def test_a_file_with_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.py", '"""Bad."""\n\ndef build(cohort, additive:\n    pass\n')
    for use in (file.function, file.matrices, lambda: file.doc):
        with pytest.raises(InputError, match=r"bad\.py:3: syntax error: .* -> Python"):
            use()


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(b'"""caf\xe9"""\n')
    with pytest.raises(InputError, match=r"bad\.py:1: byte 0xe9 at offset 6 is not UTF-8"):
        load(path).function()
    path.write_bytes(b'"""caf\xe9"""\n')
    with pytest.raises(InputError, match="is not UTF-8"):
        _ = load(path).doc


def test_a_file_without_build(tmp_path: Path) -> None:
    for text in ("x = 1\n", "build = 3\n", ""):
        file = write(tmp_path / "bad.py", text)
        with pytest.raises(InputError, match=r"bad\.py: no function `build` -> def build.* copy"):
            file(COUPLED.cohort, COUPLED.relationship())
        assert file.doc == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("from bayeslmm.modelling import fixd\n", "ImportError: cannot import name 'fixd'"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        ("x = undefined\n", "NameError: name 'undefined'"),
    ],
)
def test_a_file_that_fails_when_it_is_run(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "bad.py", text)
    with pytest.raises(ModelError, match=rf"bad\.py:1: {message}.* -> correct the file"):
        file.function()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x = undefined", "NameError: name 'undefined'"),
        ("unit = phenotype_unit(cohort)", "TypeError: No model on context stack"),
        ("x = cohort.y @ cohort.X.T", "ValueError: matmul"),
    ],
)
def test_a_build_that_fails_is_told_at_its_line(tmp_path: Path, line: str, message: str) -> None:
    text = (
        "from bayeslmm.modelling import phenotype_unit\n\n\n"
        f"def build(cohort, additive):\n    {line}\n"
    )
    file = write(tmp_path / "bad.py", text)
    with pytest.raises(ModelError, match=rf"bad\.py:5: {message}.* -> correct the file"):
        file(COUPLED.cohort, COUPLED.relationship())


def test_our_own_errors_in_build_stay_what_they_are(tmp_path: Path) -> None:
    """So do warnings that are errors, and a machine without memory."""
    for name, kind in (("InputError('a', 'b', 'c')", InputError), ("MemoryError()", MemoryError)):
        text = (
            f"from bayeslmm.errors import InputError\n\n\ndef build(cohort, A):\n    raise {name}\n"
        )
        with pytest.raises(kind) as caught:
            write(tmp_path / "bad.py", text)(COUPLED.cohort, COUPLED.relationship())
        assert "correct the file" not in str(caught.value)


def test_copy_starts_a_model_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "new" / "mine.py"
    assert models.copy("additive", target) == target
    assert target.read_text(encoding="utf-8") == load("additive").source
    target.write_text("mine\n")
    with pytest.raises(InputError, match=r"mine\.py: the file exists -> a new file"):
        models.copy("additive", target)
    assert target.read_text() == "mine\n"
    with pytest.raises(InputError, match="no model 'addative'"):
        models.copy("addative", tmp_path / "other.py")
    assert not (tmp_path / "other.py").exists()


# The contract: each way to break it


def broken(**change: Any) -> Any:
    """A model by the contract, but for one change."""
    cohort = COUPLED.cohort
    coords: dict[str, Any] = cohort.coords("additive", "residual") | change.pop("coords", {})
    dims = {"variance": "component", "beta": "covariate", "phenotype": "individual"} | change
    n, p = cohort.X.shape
    unnamed = [dim for dim, values in coords.items() if values is None]
    with pm.Model(coords={k: v for k, v in coords.items() if v is not None}) as model:
        for dim in unnamed:
            model.add_coord(dim, length=2)
        if dims["variance"] != "absent":
            pm.HalfNormal("variance", 1, shape=2, dims=dims["variance"])
        if dims["beta"] != "absent":
            pm.Normal("beta", 0, 1, shape=p, dims=dims["beta"])
        if dims["phenotype"] == "unobserved":
            pm.Normal("phenotype", 0, 1, shape=n, dims="individual")
        elif dims["phenotype"] != "absent":
            pm.Normal("phenotype", 0, 1, observed=np.zeros(n), dims=dims["phenotype"])
        if "extra" in dims:
            pm.Normal("extra", 0, 1, observed=1.0)
    return model


def test_a_model_by_the_contract_passes() -> None:
    check_contract(broken(), COUPLED.cohort, "mine.py")


LABELS = COUPLED.cohort.labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phenotype": "absent"}, r"no variable 'phenotype' \(dims 'individual'\)"),
        ({"variance": "absent"}, r"no variable 'variance' \(dims 'component'\)"),
        ({"beta": "absent"}, r"no variable 'beta' \(dims 'covariate'\)"),
        (
            {"phenotype": "covariate2", "coords": {"covariate2": LABELS}},
            r"'phenotype' has the dims",
        ),
        ({"variance": None}, r"'variance' has the dims None, the contract says \('component',\)"),
        ({"beta": None}, r"'beta' has the dims None, the contract says \('covariate',\)"),
        ({"phenotype": "unobserved"}, r"observed variables \[\]; .* \['phenotype'\]"),
        ({"extra": True}, r"observed variables \['phenotype', 'extra'\]"),
        ({"coords": {"component": ["residual", "additive"]}}, "last component .* 'residual'"),
        ({"coords": {"component": None}}, "last component .* 'residual'"),
        ({"coords": {"individual": LABELS[::-1]}}, "not the cohort's individuals in their order"),
        ({"coords": {"individual": range(16)}}, "not the cohort's individuals in their order"),
    ],
)
def test_a_broken_contract_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=rf"^mine\.py: .*{message}"):
        check_contract(broken(**change), COUPLED.cohort, "mine.py")


def test_what_is_no_model_is_named() -> None:
    with pytest.raises(ModelError, match=r"build\(\) returned NoneType, not a pm\.Model"):
        check_contract(None, COUPLED.cohort, "mine.py")


def test_a_file_that_breaks_the_contract_is_not_built(tmp_path: Path) -> None:
    source = load("additive").source.replace('"residual"', '"rest"')
    file = write(tmp_path / "mine.py", source)
    with pytest.raises(ModelError, match=r"mine\.py: the last component of 'variance'"):
        file(COUPLED.cohort, COUPLED.relationship())


# The README's example


def test_the_example_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is a model by the contract, its density the dense one, the printed text as shown."""
    text = (folder() / "README.md").read_text(encoding="utf-8")
    example, use, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    printed = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert printed is not None
    (tmp_path / "mine.py").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"cohort": COUPLED.cohort, "grm": COUPLED.relationship()}
    exec(use, space)
    assert capsys.readouterr().out == printed[1]
    shown = Compiled(space["model"], ADDITIVE)
    compare(shown, COUPLED.y, shown.points(seed=6, count=30))


def test_the_names_in_the_readme_exist() -> None:
    text = (folder() / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    blocks = re.findall(r"(?:^|, )`(\w+)[.(]", "\n".join(rows), flags=re.MULTILINE)
    assert len(blocks) > 10
    for block in blocks:
        assert block in modelling.__all__, block


def test_the_gallery_imports_nothing_else_of_ours() -> None:
    for path in folder().glob("*.py"):
        ours = re.findall(r"^(?:from|import) (bayeslmm\S*)", path.read_text(encoding="utf-8"), re.M)
        assert ours == ["bayeslmm.modelling"], path
