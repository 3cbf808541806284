"""The gallery: every file of models/ by glob, the loader, the contract, the README's example.

A file in models/ needs no test of its own: it is found here, built on kernels of every kind, and
compared with dense formulas. Its matrices are asked for by name; each gets a kernel of the problem.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_problems import Problem, problems, shares
from oracles import LOG_2PI, LONG, log_normal_density, relative
from pytensor.compile.mode import Mode

from bayeslmm import models
from bayeslmm.cohort import Cohort
from bayeslmm.errors import InputError, ModelError
from bayeslmm.models import ModelFile, check_contract, folder, load, names
from bayeslmm.relationship import Relationship

PYTHON = Mode(linker="py", optimizer="fast_compile")
GALLERY = sorted(path.stem for path in Path(__file__).parents[1].joinpath("models").glob("*.py"))
COUPLED = problems()["uncentred GRM, 4 covariates"]

EACH_MODEL = pytest.mark.parametrize("name", GALLERY)


def relationships(file: ModelFile, problem: Problem) -> dict[str, Relationship]:
    """One kernel for each matrix that the model asks for: K, K∘K, ..."""
    return {name: problem.relationship(k + 1) for k, name in enumerate(file.matrices())}


class Compiled:
    """A model as functions of its unconstrained parameters, in Python mode, compiled when used.

    `parts` gives log p, the log prior, β, the variances (and g, if it is a parameter), and the
    gradient; `pull` the gradient of log prior + Σ cotangent · part, to compare with.
    """

    def __init__(self, model: pm.Model) -> None:
        self.model = model
        self.values = model.value_vars
        self.names = ["beta", "variance", *(["g"] if "g" in model.named_vars else [])]

    @cached_property
    def derived(self) -> list[Any]:
        return list(self.model.replace_rvs_by_values([self.model[name] for name in self.names]))

    @cached_property
    def _logp(self) -> Any:
        return pytensor.function(self.values, self.model.logp(), mode=PYTHON)

    @cached_property
    def _parts(self) -> Any:
        logp, prior = self.model.logp(), self.model.logp(vars=self.model.free_RVs)
        outputs = [logp, prior, *self.derived, *pt.grad(logp, self.values)]
        return pytensor.function(self.values, outputs, mode=PYTHON)

    @cached_property
    def _pull(self) -> Any:
        cotangents = [pt.dvector() for _ in self.names]
        prior = self.model.logp(vars=self.model.free_RVs)
        pairs = zip(cotangents, self.derived, strict=True)
        total = prior + sum((c * d).sum() for c, d in pairs)
        inputs = [*self.values, *cotangents]
        return pytensor.function(inputs, pt.grad(total, self.values), mode=PYTHON)

    def logp(self, point: list[Any]) -> float:
        """Log p with all Jacobians."""
        return float(self._logp(*point))

    def parts(self, point: list[Any]) -> tuple[float, float, list[Any], Any]:
        """Log p, log prior, [β, variance(, g)], gradient (flat)."""
        logp, prior, *rest = self._parts(*point)
        k = len(self.names)
        return float(logp), float(prior), rest[:k], flat(rest[k:])

    def pull(self, point: list[Any], cotangents: list[Any]) -> Any:
        """Gradient of the log prior plus the pulled back cotangents (flat)."""
        return flat(self._pull(*point, *(np.asarray(c, dtype=float) for c in cotangents)))

    def points(self, seed: int, count: int) -> list[list[Any]]:
        """Random points; h² at 1e-8 and at 1 - 1e-8 in a fifth of them each."""
        rng = np.random.default_rng(seed)
        start = self.model.initial_point(1)
        h2 = shares(rng, count)
        found = []
        for k in range(count):
            point = {n: v + 0.7 * rng.standard_normal(np.shape(v)) for n, v in start.items()}
            for name in point:
                if name.startswith("h2"):
                    point[name] = np.asarray(np.log(h2[k]) - np.log1p(-h2[k]))
            found.append([np.asarray(point[v.name], dtype=float) for v in self.values])
        return found


@cache
def compiled_model(name: str, problem: Problem) -> Compiled:
    """A model of the gallery on a problem, compiled once for all tests."""
    file = load(name)
    return Compiled(file.build(problem.cohort, relationships(file, problem), {}))


def compare(compiled: Compiled, problem: Problem, kernels: list[Any], points: list[Any]) -> None:
    """Density 1e-8, gradient 1e-6 of max(1, |.|), against the dense ones.

    At the edges an entry of the gradient can be a difference of terms as large as the largest
    entry times 1e3 (the year of 1990): 1e-12 of the largest entry is allowed in the others.
    """
    found = [compiled.parts(point) for point in points]
    likelihood, cotangents = dense(problem, kernels, [f[2] for f in found])
    prior = np.array([f[1] for f in found])
    assert relative([f[0] for f in found], likelihood + prior) < 1e-8
    for k, point in enumerate(points):
        expected = compiled.pull(point, [c[k] for c in cotangents])
        scale = np.maximum(np.abs(expected), max(1.0, 1e-6 * np.abs(expected).max()))
        assert np.max(np.abs(found[k][3] - expected) / scale) < 1e-6


def flat(arrays: list[Any]) -> Any:
    return np.concatenate([np.ravel(a) for a in arrays])


def dense(problem: Problem, kernels: list[Any], parts: list[list[Any]]) -> tuple[Any, list[Any]]:
    """Log likelihood and cotangents of [β, variance(, g)] at many points by dense formulas."""
    beta, variance = (np.stack([part[k] for part in parts]) for k in range(2))
    if len(parts[0]) == 2:
        logp, d_beta, d_variance = log_normal_density(problem.y, problem.X, kernels, beta, variance)
        return logp, [d_beta, d_variance]
    g = np.stack([part[2] for part in parts]).astype(LONG)
    residual = problem.y - beta.astype(LONG) @ problem.X.T - g
    b, n = variance[:, -1:].astype(LONG), problem.y.size
    square = (residual**2).sum(axis=1, keepdims=True)
    d_variance = np.zeros(variance.shape, dtype=LONG)
    d_variance[:, -1:] = (square / b - n) / (2 * b)
    logp = -0.5 * (n * (LOG_2PI + np.log(b)) + square / b)[:, 0]
    return logp, [residual @ problem.X / b, d_variance, residual / b]


@EACH_MODEL
@pytest.mark.parametrize("problem", problems().values(), ids=lambda p: p.name)
def test_density_and_gradient_are_the_dense_ones(name: str, problem: Problem) -> None:
    """200 points in PyMC's unconstrained space, 80 of them at the edges of h².

    Density 1e-8 and gradient 1e-6 of max(1, |.|). The oracle takes β and the variances as the
    model computes them: at the edge 1 - h² itself has 8 digits in float64.
    """
    matrices = relationships(load(name), problem)
    kernels = [r.on(problem.cohort.individuals).matrix for r in matrices.values()]
    kernels[0] = problem.K
    compiled = compiled_model(name, problem)
    compare(compiled, problem, kernels, compiled.points(seed=1, count=200))


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
    compiled = compiled_model("additive", problem)
    latent = compiled_model("additive_cholesky", problem)
    for point in compiled.points(seed=2, count=60)[40:]:
        named = dict(zip([v.name for v in compiled.values], point, strict=True))
        if abs(named["h2_logodds__"]) > 6:
            continue
        expected = compiled.logp(point)
        assert log_integral(latent, named) == pytest.approx(expected, rel=1e-9)


# Invariances


def same_genetics(old: Compiled, new: Compiled, point: list[Any], order: Any, c: float) -> Any:
    """The point with z of the new factor that gives the genetic values c g, reordered."""
    moved = [np.array(value) for value in point]
    for k, value in enumerate(old.values):
        if value.name == "total_sd_log__":
            moved[k] = moved[k] + np.log(abs(c))
        if value.name == "g_z":
            L, M = old.model["g"].tag.factor, new.model["g"].tag.factor
            moved[k] = np.linalg.lstsq(M, np.sign(c) * (L @ moved[k])[order], rcond=None)[0]
        if value.name == "beta_std":
            moved[k] = moved[k] * np.sign(c)
    return moved


@EACH_MODEL
@pytest.mark.parametrize("problem", [COUPLED, problems()["fewer variants than individuals"]])
def test_order_and_scale_do_not_matter(name: str, problem: Problem) -> None:
    """Individuals in another order: the same log p; y → a + c y: minus n log|c|.

    To 1e-10 of the sum of its parts; 1e-9 with the uncentred year, of which Xβ keeps fewer digits.
    """
    exact = 1e-10 if np.abs(problem.X).max() < 100 else 1e-9
    file, cohort = load(name), problem.cohort
    base = compiled_model(name, problem)
    order = np.random.default_rng(3).permutation(cohort.n)
    people, names_ = cohort.individuals, cohort.covariates
    shuffled = Cohort(cohort.y[order], cohort.X[order], people[order], names_, "trait")
    scaled = Cohort(11.0 - 2.5 * cohort.y, cohort.X, people, names_, "trait")
    for other, c, rows in ((shuffled, 1.0, order), (scaled, -2.5, np.arange(cohort.n))):
        changed = Compiled(file.build(other, relationships(file, problem), {}))
        for point in base.points(seed=4, count=30)[12:]:
            moved = same_genetics(base, changed, point, rows, c)
            expected = base.logp(point) - cohort.n * np.log(abs(c))
            assert changed.logp(moved) == pytest.approx(expected, rel=exact)


@EACH_MODEL
def test_the_scale_of_the_matrix_does_not_matter(name: str) -> None:
    """GEMMA's or GCTA's factor: the kernel is scaled on the individuals themselves."""
    file, problem = load(name), COUPLED
    base = compiled_model(name, problem)
    larger = {
        key: Relationship(17.0 * r.matrix, r.individuals)
        for key, r in relationships(file, problem).items()
    }
    changed = Compiled(file.build(problem.cohort, larger, {}))
    for point in base.points(seed=5, count=20)[8:]:
        expected = base.logp(point)
        moved = same_genetics(base, changed, point, np.arange(16), 1.0)
        assert changed.logp(moved) == pytest.approx(expected, rel=1e-10)


# Files and the loader


def test_the_gallery_is_found_in_the_checkout() -> None:
    assert folder().resolve() == Path(__file__).resolve().parents[1] / "models"
    assert names() == GALLERY
    assert {"additive", "additive_cholesky"} <= set(GALLERY)
    assert not (folder() / "__init__.py").exists()


def test_in_a_wheel_the_gallery_is_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "_models"
    inside.mkdir()
    (inside / "only.py").write_text('"""Only."""\n')
    monkeypatch.setattr(models, "__file__", str(tmp_path / "models.py"))
    assert names() == ["only"]
    assert load("only").doc == "Only."


@EACH_MODEL
def test_each_file_is_complete(name: str) -> None:
    """A docstring with the equation, the priors and a reference; priors by keyword; short."""
    file = load(name)
    for word in ("y = ", "Priors:", "Reference:"):
        assert word in file.doc
    assert file.matrices()[0] == "additive"
    assert {"h2", "total_sd", "beta"} <= set(file.priors())
    assert len(file.source.splitlines()) <= 60
    assert file.source == file.path.read_text(encoding="utf-8")
    model = file.build(COUPLED.cohort, relationships(file, COUPLED), {})
    check_contract(model, COUPLED.cohort, file.path)


@EACH_MODEL
def test_provenance(name: str) -> None:
    file = load(name)
    matrices = relationships(file, COUPLED)
    found = file.build(COUPLED.cohort, matrices, {}).provenance
    assert (found["model"], found["model_file"]) == (name, f"{name}.py")
    assert found["model_sha256"] == file.sha256
    assert len(file.sha256) == 64
    assert (found["trait"], found["n"], found["ledger"]) == ("trait", 16, [])
    scaled = matrices["additive"].on(COUPLED.cohort.individuals).provenance()
    assert found["relationships"]["additive"] == scaled


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
        ("from bayeslmm.components import fixd\n", "ImportError: cannot import name 'fixd'"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        ("x = undefined\n", "NameError: name 'undefined'"),
    ],
)
def test_a_file_that_fails_when_it_is_run(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "bad.py", text)
    with pytest.raises(ModelError, match=rf"bad\.py: {message}"):
        file.function()


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
    example, use = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    printed = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert printed is not None
    (tmp_path / "mine.py").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"cohort": COUPLED.cohort, "grm": COUPLED.relationship()}
    exec(use, space)
    assert capsys.readouterr().out == printed[1]
    compiled = Compiled(space["model"])
    compare(compiled, COUPLED, [COUPLED.K], compiled.points(seed=6, count=30))


def test_the_names_in_the_readme_exist() -> None:
    text = (folder() / "README.md").read_text(encoding="utf-8")
    from bayeslmm import components, distributions, priors

    for block in re.findall(r"^\| `(\w+)[.(]", text, flags=re.MULTILINE):
        assert any(hasattr(module, block) for module in (components, distributions, priors)), block
