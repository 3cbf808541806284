"""Fixtures shared by the tests, and the rule of `.ci/run` that nothing may skip there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: one BLAS thread each
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Graphs of the tests' own are built as `bayeslmm.inference.compiled.lean` builds the package's.
os.environ.setdefault("PYTENSOR_FLAGS", "cxx=,traceback__limit=0")

import matplotlib
import pytest
from gemma import Gemma, gemma_of_mice

matplotlib.use("Agg")

# In the order in which they start; the first compiles what others load from the cache. It holds
# with --no-loadscope-reorder (pyproject.toml): xdist would start with the files of most tests.
LONG = (
    "test_multi_trait_normal.py", "test_notebooks.py", "test_compare.py", "test_determinism.py",
    "test_engines_agree.py", "test_latent_fit.py", "test_probit.py", "test_low_rank.py",
    "test_sbc_models.py", "test_fit.py", "test_calibration.py", "test_quadrature.py",
    "test_gallery.py", "test_refit.py", "test_gryphon_models.py", "test_mouse_models.py",
)  # fmt: skip
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; skips where it is missing."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"shared data missing: {data}")
    return data


@pytest.fixture(scope="session")
def gemma(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Gemma:
    """GEMMA with its matrix of the mice; skips where it is not installed."""
    return gemma_of_mice(shared_data, tmp_path_factory.mktemp("gemma"))


def pytest_configure(config: pytest.Config) -> None:
    """Let processes reuse bytecode where the machine forbids to write it: 4 s for each command.

    It goes into a temporary folder, so that nothing is written beside the sources.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = tempfile.TemporaryDirectory(prefix="bayeslmm-bytecode-")
        config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files of long tests first where several processes run: short tests end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With BAYESLMM_FORBID_SKIPS=1 a skipped test fails, unless the shared data are absent."""
    report = yield
    if report.skipped and os.environ.get("BAYESLMM_FORBID_SKIPS") == "1":
        reason = str(call.excinfo.value) if call.excinfo else "skipped"
        if not reason.startswith("shared data missing") or (SHARED / "data").is_dir():
            report.outcome = "failed"
            report.longrepr = f"BAYESLMM_FORBID_SKIPS=1, but this test skipped: {reason}"
    return report
