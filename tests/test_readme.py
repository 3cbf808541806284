"""The README is true: its commands parse, its Python runs and prints what it shows, links exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bayeslmm.cli.parser import build_parser
from bayeslmm.posterior.summary import COLUMNS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "notebooks" / "reference.md").read_text(encoding="utf-8")
COMMANDS = (
    *("demo", "simulate", "grm", "h2", "models", "compare", "calibrate", "coverage", "power"),
    "report",
)
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w])")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def close(shown: str, found: str) -> bool:
    """Same words, same numbers: to 0.012 and 1 %, as far as draws differ between platforms.

    Whole numbers above 1000 (effective sample sizes) may differ by a fifth.
    """
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", found).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(found), strict=True)
    return all(_near(float(a), float(b)) for a, b in pairs)


def _near(a: float, b: float) -> bool:
    tolerance = 0.2 * abs(a) if abs(a) > 1000 else 0.012 + 0.01 * abs(a)
    return abs(a - b) <= tolerance


def compare(shown: str, found: str) -> None:
    """The block of the README stands in the output, line by line."""
    wanted, lines = shown.rstrip().splitlines(), found.splitlines()
    starts = [i for i, line in enumerate(lines) if close(wanted[0], line)]
    assert starts, f"not printed: {wanted[0]!r}\n{found}"
    printed = lines[starts[0] : starts[0] + len(wanted)]
    stale = [
        f"README: {a}\nnow:    {b}" for a, b in zip(wanted, printed, strict=True) if not close(a, b)
    ]
    assert not stale, "\n".join(stale)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the demo and the Python block print, run one after the other in an empty folder."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "block.py").write_text(blocks("python")[0], encoding="utf-8")
    commands = {
        "demo": [sys.executable, "-m", "bayeslmm", "demo"],
        "python": [sys.executable, "-W", "error", "block.py"],
    }
    printed = {}
    for name, command in commands.items():
        run = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "MPLBACKEND": "Agg"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-4000:]
        printed[name] = run.stdout
    assert (folder / "bayeslmm-demo" / "demo.html").is_file()
    assert (folder / "demo.html").is_file()
    return printed


def test_the_demo_prints_what_the_readme_shows(session: dict[str, str]) -> None:
    compare(blocks("text")[0], session["demo"])


def test_the_python_block_prints_what_the_readme_shows(session: dict[str, str]) -> None:
    compare(blocks("text")[1], session["python"])


def test_the_exact_row_is_exact(session: dict[str, str]) -> None:
    """h² comes from the quadrature: it may only differ in the last digit shown."""
    shown, found = (
        next(line for line in text.splitlines() if line.startswith("h2 "))
        for text in (blocks("text")[1], session["python"])
    )
    for a, b in zip(shown.split()[1:-1], found.split()[1:-1], strict=True):
        assert abs(float(a) - float(b)) < 0.0015, (shown, found)


def test_the_readme_has_fifteen_lines_of_python() -> None:
    analysis = blocks("python")[0].split("table = ")[0]
    assert len([line for line in analysis.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ("h2 0.424 0.061 hdi", "h2 0.424 0.061 hdi", True),
        ("h2   0.424", "h2 0.425", True),
        ("h2 0.424", "h2 0.474", False),
        ("h2 0.424 hdi", "h2 0.424 eti", False),
        ("ESS at least 3454", "ESS at least 3190", True),
        ("ESS at least 3454", "ESS at least 400", False),
        ("[0.304, 0.544]", "[0.304, 0.444]", False),
        ("p 1.5e-05", "p 1.6e-05", True),
        ("log10 -11.9", "log10 11.9", False),
        ("h2 0.424", "h2 0.424 0.1", False),
    ],
)
def test_the_comparison_sees_stale_numbers(shown: str, found: str, same: bool) -> None:
    assert close(shown, found) is same


def test_a_stale_block_fails() -> None:
    compare("a 0.1\nb 0.2\n", "x\na 0.1\nb 0.2\ny\n")
    with pytest.raises(AssertionError, match="now:    b 0"):
        compare("a 0.1\nb 0.3\n", "x\na 0.1\nb 0.2\ny\n")
    with pytest.raises(AssertionError, match="not printed"):
        compare("c 0.1\n", "x\na 0.1\n")


def commands() -> list[list[str]]:
    """Every bayeslmm command of the shell blocks, as arguments."""
    shell = [*blocks("sh"), *blocks("sh", REFERENCE)]
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    words = [w[2:] if w[:2] == ["uv", "run"] else w for w in words]
    return [w[1:] for w in words if w[:1] == ["bayeslmm"]]


def test_there_are_commands_of_every_kind() -> None:
    kinds = {arguments[0] for arguments in commands()}
    assert kinds == set(COMMANDS)


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_of_the_readme_parses(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).command == arguments[0]


def test_the_two_commands_of_the_quick_start() -> None:
    shell = blocks("sh")
    assert shell[0] == "pip install -q uv && uv run bayeslmm demo\n"
    assert shell[1] == "uv run pytest\n"


def test_every_option_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    known = ""
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        known += capsys.readouterr().out
    named, existing = (
        set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
        for text in (README + REFERENCE, known)
    )
    assert {"--bfile", "--h2", "--prior", "--kernel-scale"} <= named
    theirs = {"--to"}  # of jupytext
    assert named - theirs <= existing, named - theirs - existing


def test_the_defaults_in_the_table_are_those_of_the_parser() -> None:
    from bayeslmm.cli.parser import QC_DEFAULTS

    args = build_parser().parse_args(["h2", "--bfile", "x", "--pheno", "y", "--out", "z"])
    rows = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in table_lines()}
    assert rows["`--maf`, `--max-missing`, `--hwe`"] == "0.01, 0.05, off"
    assert [QC_DEFAULTS[k] for k in ("maf", "max_missing", "hwe")] == [0.01, 0.05, None]
    assert rows["`--draws`, `--prob`, `--seed`"] == f"{args.draws}, {args.prob}, {args.seed}"
    assert rows["`--chr-set N`, `--all-chromosomes`"] == (
        f"{QC_DEFAULTS['chr_set']}; autosomes only"
    )
    assert args.kernel_scale is None  # asv, but none of a pedigree
    assert rows["`--kernel-scale asv/none`"] == "`asv`; of a pedigree `none`"
    assert QC_DEFAULTS["scale"] == "gcta"


def table_lines() -> list[str]:
    """Rows of the tables, without escaped bars."""
    lines = [line.replace("\\|", "/") for line in REFERENCE.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith("|---")]


def test_columns_and_quantities_are_all_explained(session: dict[str, str]) -> None:
    section = REFERENCE.split("## The columns")[1].split("\n## ")[0]
    for column in COLUMNS:
        assert f"`{column}`" in section, column
    printed = session["python"].splitlines()
    quantities = [line.split()[0] for line in printed if re.match(r"\w+(\[.+\])? +-?\d", line)]
    assert len(quantities) >= 22
    general = {"beta": "beta[NAME]", "share": "share[COMPONENT]", "sigma2": "sigma2[COMPONENT]"}
    for quantity in quantities:
        name = general.get(quantity.partition("[")[0], quantity)
        assert f"`{name}`" in section, quantity


def test_the_model_shown_is_the_model_file() -> None:
    shown = blocks("python")[1]
    assert shown.strip() in (ROOT / "models" / "additive.py").read_text(encoding="utf-8")


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "models/README.md",
        "notebooks/README.md",
        "notebooks/reference.md",
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.is_file(), f"{document}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{document}: {target}"


def test_the_changelog_is_of_this_version() -> None:
    import bayeslmm

    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == bayeslmm.__version__
