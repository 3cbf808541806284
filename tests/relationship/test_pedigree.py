"""Reading pedigrees: formats, order, and what cannot be one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.pedigree.pedigree import Pedigree, pruned, read_pedigree

TRIO = {"a": (None, None), "b": (None, None), "c": ("a", "b")}


def read(folder: Path, text: str, name: str = "p.txt", **options: object) -> Pedigree:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_pedigree(path, **options)  # type: ignore[arg-type]


def parents(pedigree: Pedigree) -> dict[str, tuple[str | None, str | None]]:
    names = pedigree.individuals.get_level_values("IID").tolist()
    return {
        name: (names[s] if s >= 0 else None, names[d] if d >= 0 else None)
        for name, s, d in zip(names, pedigree.sire, pedigree.dam, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "animal\tsire\tdam\nc\ta\tb\na\tNA\tNA\nb\tNA\tNA\n"),
        ("p.txt", "ID DAM SIRE\nc b a\na 0 0\nb . *\n"),
        ("p.csv", "iid,Father,MOTHER\nc,a,b\na,,\nb,,\n"),
        ("p.csv", "id,mum,dad,weight\nc,b,a,3\na,,,NA\nb,,,1\n"),
        ("p.txt", "FID IID PAT MAT SEX\n0 c a b 0\n0 a 0 0 1\n0 b 0 0 2\n"),
        ("p.psam", "#IID PAT MAT SEX\nc a b 2\na 0 0 1\nb 0 0 2\n"),
        ("p.txt", "c a b\na 0 0\nb 0 0\n"),
        ("p.txt", "c\ta\tb\r\na\t\t\r\nb\t\t\r\n"),
        ("p.fam", "0 c a b 1 -9\n0 a 0 0 1 -9\n0 b 0 0 2 2.5\n"),
        ("p.txt", "c a b\n"),
    ],
)
def test_formats(tmp_path: Path, name: str, text: str) -> None:
    pedigree = read(tmp_path, text, name)
    assert parents(pedigree) == TRIO
    assert pedigree.individuals[0] == ("0", "c")
    place = np.argsort(pedigree.order)
    assert place[0] > max(place[1], place[2])


def test_parents_without_a_row_become_founders(tmp_path: Path) -> None:
    pedigree = read(tmp_path, "id sire dam\nc a b\nd a x\n")
    assert pedigree.individuals.get_level_values("IID").tolist() == ["c", "d", "a", "b", "x"]
    assert pedigree.notes == ("3 parents without a row are founders: a, b, x",)
    assert pedigree.lines is not None
    assert pedigree.lines.tolist() == [2, 3, 0, 0, 0]


def test_parents_belong_to_the_family_of_their_offspring(tmp_path: Path) -> None:
    rows = "F1 c a b 1 -9\nF1 a 0 0 1 -9\nF1 b 0 0 2 -9\nF2 c a b 1 -9\nF2 a 0 0 1 -9\n"
    pedigree = read(tmp_path, rows, "p.fam")
    assert pedigree.individuals.tolist()[pedigree.sire[3]] == ("F2", "a")
    assert pedigree.individuals.tolist()[pedigree.dam[3]] == ("F2", "b")
    assert pedigree.n == 6


def test_rows_that_repeat_an_earlier_one(tmp_path: Path) -> None:
    pedigree = read(tmp_path, "id sire dam\nc a b\nd a b\nc a b\n")
    assert pedigree.n == 4
    assert "1 rows repeat an earlier row and are left out" in pedigree.notes


BAD = {
    "other parents": ("id sire dam\nc a b\nd a b\nc a x\n", r"p.txt:4: c has the dam x here and b"),
    "other sex": ("id sire dam sex\nc a b 1\nc a b 2\n", r"p.txt:3: c has the sex 2 here and 1 in"),
    "self": ("id sire dam\na 0 0\nc a c\n", r"p.txt:3: c is its own dam"),
    "both": ("id sire dam\nc a b\nd b x\n", r"p.txt:3: b is the sire of d and the dam of c"),
    "loop": (
        "id sire dam\nz a 0\na b 0\nb c 0\nc a y\n",
        r"p.txt:3: a loop of 3 individuals, each a child of the next: a <- b <- c <- a",
    ),
    "a dam that is male": (
        "id sire dam sex\na 0 0 1\nc 0 a 2\n",
        r"p.txt:3: a, the dam of c, is m",
    ),
    "a sire that is female": ("id sire dam sex\nc a 0 2\na 0 0 F\n", r"p.txt:2: a, the sire of c"),
    "no sire": ("id dam mass\nc a 1\n", r"p.txt:1: no column for the sire among id, dam, mass"),
    "two columns": ("id animal sire dam\nc c a b\n", r"'id' and 'animal' can all be the individ"),
    "columns unknown": ("c a b 1\nd a b 1\n", r"p.txt:1: 4 columns without a known header"),
    "a code for missing": ("id sire dam\nc a -9\n", r"p.txt:2:dam: a dam named '-9'"),
    "no identifier": ("id sire dam\nc a b\nNA a b\n", r"p.txt:3:id: the identifier 'NA'"),
    "a field too few": ("id sire dam\nc a\n", r"p.txt:2: 2 fields -> 3"),
    "commas and blanks": ("id, sire, dam\nc, a, b\n", r"p.txt:1:id: the identifier 'id,'"),
    "decimals": ("id sire dam\n1 NA NA\n2 NA NA\n3 1.0 2.0\n", r"parent '1.0' has no row, but '1'"),
    "empty": ("", "an empty file"),
    "header only": ("id sire dam\n", "a header and no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_pedigree_is_refused_by_name(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_selfing_is_allowed_when_it_is_asked_for(tmp_path: Path) -> None:
    text = "id sire dam\nc a a\n"
    with pytest.raises(InputError, match="allow_selfing"):
        read(tmp_path, text)
    assert parents(read(tmp_path, text, allow_selfing=True)) == {"c": ("a", "a"), "a": (None, None)}


def by_rows(n: int = 60, seed: int = 1) -> tuple[str, dict[str, tuple[str | None, str | None]]]:
    """A file with numbers of rows as parents, that names cannot be; and what it means."""
    rng = np.random.default_rng(seed)
    names = [str(i + 1) for i in rng.permutation(n)]
    rows = ["animal sire dam"]
    meant: dict[str, tuple[str | None, str | None]] = {}
    for i, name in enumerate(names):
        if i < n // 2:
            rows.append(f"{name} NA NA")
            meant[name] = (None, None)
        else:  # even rows sire, odd rows dam
            s, d = 2 * rng.integers(n // 4), 2 * rng.integers(n // 4) + 1
            rows.append(f"{name} {s + 1} {d + 1}")
            meant[name] = (names[s], names[d])
    i = next(i for i, name in enumerate(names) if i >= n // 2 and int(name) <= n // 2)
    own = names[i]  # a self-parent, if names
    sire, dam = (own, "2") if int(own) % 2 else ("1", own)
    rows[i + 1] = f"{own} {sire} {dam}"
    meant[own] = (names[int(sire) - 1], names[int(dam) - 1])
    return "\n".join(rows) + "\n", meant


def test_numbers_of_rows_are_taken_with_a_warning_and_never_in_silence(tmp_path: Path) -> None:
    text, meant = by_rows()
    with pytest.warns(BayesLMMWarning, match="read as row numbers.*own.*pedigree-parents"):
        pedigree = read(tmp_path, text)
    assert parents(pedigree) == meant
    assert "row numbers" in pedigree.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parents(read(tmp_path, text, parents="rows")) == meant
    with pytest.raises(InputError, match="is its own"):
        read(tmp_path, text, parents="names")


def test_numbers_of_rows_are_not_guessed_from_little(tmp_path: Path) -> None:
    text = "id sire dam\n3 0 0\n1 0 0\n2 1 2\n"  # 2 is its own dam; row 2 is individual 1
    with pytest.raises(InputError, match=r"own dam.*as row numbers the parents are consistent"):
        read(tmp_path, text)
    meant = {"3": (None, None), "1": (None, None), "2": ("3", "1")}
    assert parents(read(tmp_path, text, parents="rows")) == meant
    named, _ = by_rows()
    lines = named.splitlines()
    lines[1] = f"x{lines[1]}"  # one identifier is not a number
    with pytest.raises(InputError, match="as row numbers the parents are consistent"):
        read(tmp_path, "\n".join(lines))


def test_numbers_of_rows_must_be_consistent_in_every_respect(tmp_path: Path) -> None:
    text, _ = by_rows()
    lines = text.splitlines()
    name = lines[-1].split()[0]
    for parents_of_last in ("61 2", "60 2", "2 1"):  # no such row, itself, sires that are dams
        lines[-1] = f"{name} {parents_of_last}"
        with pytest.raises(InputError, match=r"own|sire of") as caught:
            read(tmp_path, "\n".join(lines))
        assert "consistent" not in str(caught.value)
    lines[-1] = f"{name} 61 2"
    with pytest.raises(InputError, match=r"p.txt:61:sire: the sire '61', read as a row number"):
        read(tmp_path, "\n".join(lines), parents="rows")


def test_parents_that_may_be_either_are_names_with_a_warning(tmp_path: Path) -> None:
    rows = ["id sire dam", *(f"{i} 0 0" for i in range(1001, 1041))]
    rows += [f"{i} {2 * (i % 20) + 1} {2 * (i % 19) + 2}" for i in range(1041, 1081)]
    with pytest.warns(BayesLMMWarning, match="read as identifiers, although none"):
        pedigree = read(tmp_path, "\n".join(rows))
    assert parents(pedigree)["1041"] == ("3", "32")


def test_the_gryphon_pedigree_has_numbers_of_rows(shared_data: Path) -> None:
    path = shared_data / "gryphon/pedigree.tsv"
    with pytest.warns(BayesLMMWarning, match="all 587 parents are consistent"):
        pedigree = read_pedigree(path)
    assert pedigree.n == 1309
    records = pd.read_csv(shared_data / "gryphon/phenotypes.tsv", sep="\t", dtype=str)
    found = parents(pedigree)
    assert [found[animal][1] for animal in records["ANIMAL"]] == records["MOTHER"].tolist()


def test_the_order_of_rows_does_not_matter() -> None:
    """A chain of 3000, which recursion would not survive, shuffled."""
    q = 3000
    rng = np.random.default_rng(2)
    shuffled = rng.permutation(q)
    place = np.argsort(shuffled)
    sire = np.array([place[i - 1] if i else -1 for i in shuffled])
    ids = individual_index(["0"] * q, [str(i) for i in shuffled])
    pedigree = Pedigree(ids, sire, np.full(q, -1))
    assert shuffled[pedigree.order].tolist() == list(range(q))
    sire[place[0]] = place[q - 1]
    with pytest.raises(InputError, match="a loop of 3000 individuals"):
        Pedigree(ids, sire, np.full(q, -1))


def test_pruned_keeps_ancestors_only(tmp_path: Path) -> None:
    text = "id sire dam\ne c d\nc a b\nd a b\nf c x\na 0 0\nb 0 0\n"
    small = pruned(read(tmp_path, text), individual_index(["0"], ["c"]))
    assert parents(small) == {"c": ("a", "b"), "a": (None, None), "b": (None, None)}
    with pytest.raises(InputError, match=r"2 of 2 individuals are not in the pedigree: y, z"):
        pruned(small, individual_index("00", "yz"))


def test_positions_by_identifier_across_families(tmp_path: Path) -> None:
    pedigree = read(tmp_path, "c a b\n")
    assert pedigree.positions(individual_index(["F1", "F2"], ["b", "c"])).tolist() == [2, 0]


@pytest.mark.parametrize("sire", [[0, 5], [-2, -1], [-1]])
def test_positions_of_parents_are_checked(sire: list[int]) -> None:
    with pytest.raises(InputError, match="sire of shape"):
        Pedigree(individual_index("00", "ab"), np.array(sire), np.full(2, -1))
    with pytest.raises(InputError, match="repeated"):
        Pedigree(individual_index("00", "aa"), np.full(2, -1), np.full(2, -1))


def test_an_unknown_reading_of_parents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'auto', 'names' or 'rows'"):
        read(tmp_path, "c a b\n", parents="numbers")
