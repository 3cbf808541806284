"""The public names: light to import, never shadowed by a submodule, all of them documented."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bayeslmm
from bayeslmm import modelling

MODULES = {module.name for module in pkgutil.iter_modules(bayeslmm.__path__)}

CHECK = """
import importlib, sys
import bayeslmm
names = [name for name, home in bayeslmm._HOME.items() if home.split(":")[0] in sys.argv[2:]]
assert len(names) > 10
def load_modules():
    for name in sys.argv[2:]:
        importlib.import_module(f"bayeslmm.{name}")
if sys.argv[1] == "modules first":
    load_modules()
before = {name: getattr(bayeslmm, name) for name in names}
load_modules()
for name in names:
    assert getattr(bayeslmm, name) is before[name], name
    assert callable(before[name]), name
for name in {name.split(".")[0] for name in sys.argv[2:]}:
    assert getattr(bayeslmm, name) is sys.modules[f"bayeslmm.{name}"], name
assert bayeslmm.models is sys.modules["bayeslmm.models"]
"""


def test_no_public_name_is_that_of_a_submodule() -> None:
    assert set(bayeslmm.__all__) & MODULES == {"models"}  # which is the module itself


@pytest.mark.parametrize("order", ["modules first", "names first"])
def test_names_stay_what_they_are_in_any_order_of_imports(order: str) -> None:
    inside = "cohort.build genotypes.qc genotypes.genotypes relationship.files relationship.genomic"
    modules = [*inside.split(), "tables.phenotypes", "simulation.cohort", "likelihood.spectrum"]
    subprocess.run([sys.executable, "-c", CHECK, order, *modules], check=True, timeout=120)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys; import bayeslmm; "
        "assert not {'pymc', 'pandas', 'numpy', 'numba', 'xarray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_names_the_lazy_ones_and_they_are_documented() -> None:
    assert sorted(bayeslmm.__all__) == sorted({*bayeslmm._HOME, "models", "__version__"})
    assert set(bayeslmm.__all__) <= set(dir(bayeslmm))
    for name in bayeslmm.__all__:
        value = getattr(bayeslmm, name)
        if name != "__version__":
            assert inspect.getdoc(value), name


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    """The block under TYPE_CHECKING and the table say the same."""
    source = Path(inspect.getfile(bayeslmm)).read_text(encoding="utf-8")
    block = source[source.index("if TYPE_CHECKING:") : source.index("__version__: str")]
    seen = {}
    for module, names in re.findall(r"from bayeslmm\.(\S+) import (.+)", block):
        for name in names.split(", "):
            inner, _, outer = name.partition(" as ")
            seen[outer or inner] = f"{module}:{inner}"
    assert seen == bayeslmm._HOME


NEW = [  # names whose docstring shows how they are used; the examples are run
    *("compute_blup", "predict_phenotype", "predict_left_out", "estimate_variant_effects"),
    *("invert_relationship", "read_fam_phenotypes", "standardise_variants"),
    *("group_kernel", "hadamard", "environment_interaction", "within_environments"),
]


@pytest.mark.parametrize("name", NEW)
@pytest.mark.filterwarnings("ignore::bayeslmm.errors.BayesLMMWarning")
def test_examples_of_docstrings_run(name: str) -> None:
    value = getattr(bayeslmm, name) if name in bayeslmm.__all__ else getattr(modelling, name)
    module = sys.modules[value.__module__]
    examples = doctest.DocTestFinder(recurse=False).find(value, name, globs=vars(module).copy())
    found = [doctest.DocTestRunner().run(example) for example in examples]
    assert sum(one.attempted for one in found) > 0
    assert sum(one.failed for one in found) == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'fitt'; it has .*'fit'"):
        bayeslmm.fitt  # noqa: B018


def test_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", bayeslmm.__version__)
