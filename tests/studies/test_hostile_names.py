"""Names that could break a table, a terminal or the report: refused with their line, or text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayeslmm import models
from bayeslmm.cli import main
from bayeslmm.estimates.boundary import restricted_lrt
from bayeslmm.genotypes.genotypes import from_array, write_plink1
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.files import write_grm
from bayeslmm.relationship.relationship import Relationship

N = 120
NAMES = [
    "<script>alert(1)</script>", '"><img/src=x/onerror=alert(1)>', "'q'", 'a"b', '""', "=cmd()",
    "+1", "-1", "@SUM(A1)", "a,b", "..", "a/b", "{{7*7}}", "{%raw%}", "$x$", "&amp;", "<!--",
    "L" * 500, "身長", "طول", "é", "NA", "nan", "NULL", "1e5", "007", "#h", "\\n", "%s", "None",
]  # fmt: skip
TRAITS = ["<img src=x onerror=alert(1)>", '=1+1 "b" &amp;']
COVARIATES = ['"><svg onload=alert(1)>', "@now"]
LEVELS = ["<b>", "=2", "'--"]
HIDDEN = {
    "NUL": "a\0b",
    "right-to-left override": "a\u202eb",
    "escape": "a\x1b[31mb",
    "zero width": "a\u200bb",
    "bell": "a\x07b",
}
HIDDEN_SIGNS = ("\0", "\u202e", "\x1b", "\u200b", "\x07")


class Live(HTMLParser):
    """Tags that run or load something, attributes that run something, and all the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [key for key, _ in attrs if key.startswith("on")]
        for key, value in attrs:
            if key in ("href", "src", "action") and not (value or "").startswith(("#", "data:")):
                self.handlers.append(f"{key}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_dead(page: str, *names: str) -> None:
    found = Live(page)
    assert not {"script", "img", "iframe", "object", "embed"} & set(found.tags)
    assert not found.handlers
    squeezed = re.sub(r"\s+", " ", found.text)
    for name in names:
        assert name in squeezed, name
    assert not re.search("[\\x00-\\x08\\x1b\\u202a-\\u202e\\u2066-\\u2069]", page)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Genotypes of families with hostile FIDs, IIDs and variant names, phenotypes, covariates."""
    path = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(1)
    dosages = _families(rng)
    iids = [NAMES[k] if k < len(NAMES) else f"i{k}" for k in range(N)]
    fids = [NAMES[-1 - k // 4] if k // 4 < len(NAMES) else "F" for k in range(N)]
    people = individual_index(fids, iids)
    genotypes = from_array(dosages, people)
    names = genotypes.variants["ID"].tolist()
    names[: len(NAMES)] = NAMES
    genotypes.variants["ID"] = names
    write_plink1(genotypes, path / "x")
    y = dosages @ rng.normal(size=dosages.shape[1]) / 10
    table = pd.DataFrame({"FID": fids, "IID": iids})
    table[TRAITS[0]] = y + rng.normal(size=N)
    table[TRAITS[1]] = y + rng.normal(size=N)
    table["=house"] = [LEVELS[k // 4 % 3] + str(k // 4) for k in range(N)]
    write(table, path / "x.pheno")
    covariates = pd.DataFrame({"FID": fids, "IID": iids})
    covariates[COVARIATES[0]] = rng.normal(size=N)
    covariates[COVARIATES[1]] = [LEVELS[k % 3] for k in range(N)]
    write(covariates, path / "x.covar")
    return path


def _families(rng: np.random.Generator) -> np.ndarray:
    """(N, 200) dosages of sibs, four a family."""
    p = rng.uniform(0.2, 0.8, 200)
    parents = rng.random((N // 4, 2, 2, 200)) < p
    return np.array(
        [
            sum(
                np.where(rng.random(200) < 0.5, parents[k // 4, side, 0], parents[k // 4, side, 1])
                for side in (0, 1)
            )
            for k in range(N)
        ]
    ).astype(float)


def write(table: pd.DataFrame, path: Path) -> None:
    """Tab-separated text without quotes, whatever the names."""
    rows = [table.columns.tolist(), *table.astype(str).to_numpy().tolist()]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def hide(path: Path, text: str, *, line: int, field: int) -> None:
    """Put a text into a field (from 0) of a line (from 1) of a table."""
    lines = path.read_text(encoding="utf-8").split("\n")
    fields = lines[line - 1].split("\t") if "\t" in lines[line - 1] else lines[line - 1].split()
    fields[field] = text
    lines[line - 1] = "\t".join(fields)
    path.write_text("\n".join(lines), encoding="utf-8")


def read(path: Path) -> pd.DataFrame:
    """A table of ours as another program reads it, texts as they stand."""
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture
def few_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bayeslmm.posterior.summary.restricted_lrt",
        lambda s, e: restricted_lrt(s, e, simulations=500),
    )


@pytest.mark.usefixtures("few_simulations")
def test_hostile_names_go_through_the_whole_command_as_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    code = main(
        ["h2", "--bfile", f"{folder}/x", "--pheno", f"{folder}/x.pheno", "--covar",
         f"{folder}/x.covar", "--cat-covar", COVARIATES[1], "--pheno-name", ",".join(TRAITS),
         "--out", str(out), "--predict", "--breeding-values", "--draws", "400", "--json"]
    )  # fmt: skip
    captured = capsys.readouterr()
    assert code in (0, 1), captured.err  # 1: few draws
    said = json.loads(captured.out)
    assert [one["trait"] for one in said["traits"]] == TRAITS
    people = [line.split()[:2] for line in (folder / "x.fam").read_text("utf-8").splitlines()]
    table = read(Path(f"{out}.h2.tsv"))
    assert list(dict.fromkeys(table["trait"])) == TRAITS
    effects = [f"beta[{COVARIATES[0]}]", *(f"beta[{COVARIATES[1]}[{x}]]" for x in LEVELS)]
    assert len(set(effects) & set(table["quantity"])) == 3  # one level is the reference
    for suffix in (".bv.tsv", ".predict.tsv"):
        found = read(Path(f"{out}{suffix}"))
        for trait in TRAITS:
            one = found[found["trait"] == trait]
            assert one[["FID", "IID"]].to_numpy().tolist() == people
    record = json.loads(Path(f"{out}.run.json").read_text(encoding="utf-8"))
    assert list(record["traits"]) == TRAITS
    with xr.open_datatree(f"{out}.nc", engine="h5netcdf") as tree:
        assert set(tree.children) >= set(TRAITS)
    assert_dead(Path(f"{out}.html").read_text(encoding="utf-8"), *TRAITS, *COVARIATES)
    assert main(["report", f"{out}.nc", "--out", f"{out}.again.html"]) == 0
    assert_dead(Path(f"{out}.again.html").read_text(encoding="utf-8"), *TRAITS)


@pytest.mark.usefixtures("few_simulations")
def test_hostile_groups_and_a_twin_are_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "house"
    code = main(
        ["h2", "--bfile", f"{folder}/x", "--pheno", f"{folder}/x.pheno", "--pheno-name", TRAITS[1],
         "--model", "household", "--group-column", "=house", "--out", str(out), "--draws", "400"]
    )  # fmt: skip
    assert code in (0, 1), capsys.readouterr().err
    assert "share[=house]" in set(read(Path(f"{out}.h2.tsv"))["quantity"])
    assert_dead(Path(f"{out}.html").read_text(encoding="utf-8"), TRAITS[1], "=house")


@pytest.mark.parametrize("suffix", ["x.fam", "x.bim", "x.pheno", "x.covar", "keep"])
@pytest.mark.parametrize("kind", list(HIDDEN))
def test_names_with_hidden_characters_are_refused_with_their_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, kind: str
) -> None:
    for name in ("x.bed", "x.fam", "x.bim", "x.pheno", "x.covar"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    people = [line.split()[:2] for line in (folder / "x.fam").read_text().splitlines()]
    (tmp_path / "keep").write_text("".join(f"{fid}\t{iid}\n" for fid, iid in people))
    hide(tmp_path / suffix, HIDDEN[kind], line=5, field=1)
    command = ["h2", "--bfile", f"{tmp_path}/x", "--pheno", f"{tmp_path}/x.pheno", "--covar",
               f"{tmp_path}/x.covar", "--cat-covar", COVARIATES[1], "--pheno-name", TRAITS[1],
               "--keep", f"{tmp_path}/keep", "--out", f"{tmp_path}/out"]  # fmt: skip
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f"{suffix}:5:" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\u202eb", r"x\.pheno:1:3: the column name 'a\\u202eb' -> a printable name"),
        ("</script>", r"the trait name '</script>' -> a name without '/'"),
        ("", r"x\.pheno:1:3: the column name ''"),
    ],
)
def test_names_of_traits_that_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    path = tmp_path / "x.pheno"
    path.write_text(f"FID\tIID\t{name}\n" + "F\ti40\t1\n", encoding="utf-8")
    assert main(["h2", "--bfile", f"{folder}/x", "--pheno", str(path), "--out",
                 f"{tmp_path}/out"]) == 2  # fmt: skip
    assert re.search(words, capsys.readouterr().err)


MODEL_FILES = ["<script>alert(1)<b>", "=1+1 'q' \"d\" &amp; {{7*7}} طول"]


def own_model(folder: Path, name: str, source: str = "additive") -> Path:
    """A model file with a name of one's own."""
    path = folder / f"{name}.py"
    path.write_text(models.load(source).source, encoding="utf-8")
    return path


def test_hostile_names_go_through_a_comparison_as_text(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Individuals, families, groups, levels, trait, covariates and the models' own names."""
    own = [own_model(tmp_path, name) for name in MODEL_FILES]
    out = tmp_path / "=out"
    command = [
        "compare", "--bfile", f"{folder}/x", "--pheno", f"{folder}/x.pheno", "--covar",
        f"{folder}/x.covar", "--cat-covar", COVARIATES[1], "--pheno-name", TRAITS[0],
        "--models", ",".join(["fixed", "household", *map(str, own)]),
        "--group-column", "=house", "--out", str(out), "--draws", "400", "--threads", "1",
    ]  # fmt: skip
    assert main(command) in (0, 1)  # 1: few draws
    said = capsys.readouterr().out
    assert TRAITS[0] in said
    table = read(Path(f"{out}.compare.tsv"))
    assert sorted(table["model"]) == sorted(["fixed", "household", *MODEL_FILES])
    assert table["log_ml"].nunique() == 3  # the files are all the same model
    record = json.loads(Path(f"{out}.compare.run.json").read_text(encoding="utf-8"))
    assert list(record["models"]) == ["fixed", "household", *MODEL_FILES]
    page = Path(f"{out}.compare.html").read_text(encoding="utf-8")
    assert_dead(page, TRAITS[0], *COVARIATES, *MODEL_FILES, "=house")
    assert "49" not in Live(page).text.split()  # no template ran


@pytest.fixture(scope="module")
def matrix(folder: Path) -> Path:
    """A GRM of hostile individuals in a file with a hostile name, and beside it another."""
    prefix = folder / "<b>'+1"
    names = [name for name in NAMES if not name.startswith("#")]  # "#h" begins a comment
    people = individual_index(["=F"] * len(names), names)
    for seed, path in ((2, prefix), (3, f"{prefix}2")):
        K = np.cov(_families(np.random.default_rng(seed))[: len(names)])
        write_grm(Relationship(K, people), path)
    return prefix


@pytest.mark.parametrize("command", ["coverage", "power"])
def test_hostile_names_go_through_a_study_as_text(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = tmp_path / "=1+1"
    options = ["--grm", str(matrix), "--h2", "0.5", "--reps", "20", "--threads", "1"]
    assert main([command, *options, "--out", str(out)]) == 0
    assert f"the matrix {matrix.name}.grm.bin" in capsys.readouterr().out
    assert set(read(Path(f"{out}.{command}.tsv"))["h2"]) <= {"0.5", "prior"}
    page = Path(f"{out}.{command}.html").read_text(encoding="utf-8")
    assert_dead(page, f"{matrix.name}.grm.bin")


def test_hostile_names_go_through_a_calibration_as_text(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model's file, the matrices' names; they are components, and so names of quantities."""
    own = own_model(tmp_path, MODEL_FILES[0], "partitioned")
    names = ["<script>alert(2)<b>", '"+1 {{7*7}}']
    out = tmp_path / "=1+1"
    options = ["--grm", f"{names[0]}={matrix},{names[1]}={matrix}2", "--n", "12"]
    options += ["--n-sims", "20", "--draws", "20", "--threads", "1"]
    assert main(["calibrate", "--model", str(own), *options, "--out", str(out)]) in (0, 1)
    assert MODEL_FILES[0] in capsys.readouterr().out
    quantities = set(read(Path(f"{out}.calibration.tsv"))["quantity"])
    assert quantities >= {f"share[{name}]" for name in names}
    record = json.loads(Path(f"{out}.calibration.run.json").read_text(encoding="utf-8"))
    assert record["model"] == MODEL_FILES[0]
    page = Path(f"{out}.calibration.html").read_text(encoding="utf-8")
    assert_dead(page, MODEL_FILES[0], *(f"share[{name}]" for name in names))


@pytest.mark.parametrize("suffix", ["x.fam", "x.pheno", "x.covar"])
@pytest.mark.parametrize("kind", ["NUL", "right-to-left override"])
def test_a_comparison_refuses_hidden_characters_with_their_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, kind: str
) -> None:
    for name in ("x.bed", "x.fam", "x.bim", "x.pheno", "x.covar"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    hide(tmp_path / suffix, HIDDEN[kind], line=5, field=1)
    command = [
        "compare", "--bfile", f"{tmp_path}/x", "--pheno", f"{tmp_path}/x.pheno", "--covar",
        f"{tmp_path}/x.covar", "--cat-covar", COVARIATES[1], "--pheno-name", TRAITS[1],
        "--models", "fixed,household", "--group-column", "=house", "--out", f"{tmp_path}/out",
    ]  # fmt: skip
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f"{suffix}:5:" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize("where", ["column", "group", "record", "level"])
@pytest.mark.parametrize("kind", ["NUL", "right-to-left override"])
def test_columns_with_hidden_characters_are_refused_with_their_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, kind: str
) -> None:
    """The name of a column, a group (of an individual, of a record), a level of a covariate."""
    for name in ("x.pheno", "x.covar"):
        lines = (folder / name).read_text(encoding="utf-8").split("\n")
        plain = slice(1, len(NAMES) + 1) if where == "record" else slice(0)  # "NA" is no name
        del lines[plain]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    line = 1 if where == "column" else 5
    changed = "x.covar" if where == "level" else "x.pheno"
    hide(tmp_path / changed, HIDDEN[kind], line=line, field=3 if where == "level" else 4)
    command = [
        "compare", "--bfile", f"{folder}/x", "--pheno", f"{tmp_path}/x.pheno", "--covar",
        f"{tmp_path}/x.covar", "--cat-covar", COVARIATES[1], "--pheno-name", TRAITS[1],
        "--models", "additive,household", "--group-column", "=house", "--out", f"{tmp_path}/out",
        *(("--id-column", "IID") if where == "record" else ()),
    ]  # fmt: skip
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f"{changed}:{line}:" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize("command", ["calibrate", "coverage", "power"])
@pytest.mark.parametrize("kind", ["NUL", "right-to-left override"])
def test_a_matrix_with_hidden_characters_is_refused_with_their_line(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    for suffix in (".grm.bin", ".grm.id"):
        (tmp_path / f"k{suffix}").write_bytes(Path(f"{matrix}{suffix}").read_bytes())
    hide(tmp_path / "k.grm.id", HIDDEN[kind], line=5, field=1)
    assert main([command, "--grm", f"{tmp_path}/k", "--out", f"{tmp_path}/out"]) == 2
    err = capsys.readouterr().err
    assert "k.grm.id:5" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize("kind", ["right-to-left override", "escape"])
def test_a_model_file_with_a_hidden_name_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = own_model(tmp_path, HIDDEN[kind].replace("/", "."))
    usual = ["--bfile", f"{folder}/x", "--pheno", f"{folder}/x.pheno", "--out", f"{tmp_path}/out"]
    for command in (
        ["compare", *usual, "--models", f"additive,{path}"],
        ["calibrate", "--model", str(path), "--out", f"{tmp_path}/out"],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "a printable name" in err
        assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize("command", ["compare", "calibrate"])
def test_a_matrix_with_a_hidden_name_is_refused(
    folder: Path, matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    options = ["--grm", f"a\u202eb={matrix},b={matrix}2", "--out", f"{tmp_path}/out"]
    if command == "compare":
        options += ["--pheno", f"{folder}/x.pheno", "--pheno-name", TRAITS[1]]
        options += ["--models", "fixed,partitioned"]
    else:
        options += ["--model", "partitioned"]
    assert main([command, *options]) == 2
    err = capsys.readouterr().err
    assert r"name 'a\u202eb' -> a printable word" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)


@pytest.mark.parametrize("kind", ["NUL", "right-to-left override"])
def test_parts_with_hidden_characters_are_refused_with_their_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """The groups of variants that --by names."""
    path = tmp_path / "groups"
    variants = [line.split()[1] for line in (folder / "x.bim").read_text("utf-8").splitlines()]
    path.write_text("".join(f"{one}\tg{k % 2}\n" for k, one in enumerate(variants)), "utf-8")
    hide(path, HIDDEN[kind], line=5, field=1)
    command = [
        "compare", "--bfile", f"{folder}/x", "--pheno", f"{folder}/x.pheno", "--pheno-name",
        TRAITS[1], "--models", "fixed,partitioned", "--by", str(path), "--out", f"{tmp_path}/out",
    ]  # fmt: skip
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "groups:5:" in err
    assert not any(sign in err for sign in HIDDEN_SIGNS)
