"""Estimates of other programs: GCTA's ``.hsq`` and GEMMA's ``.log.txt``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from bayeslmm.errors import InputError
from bayeslmm.system.files import PathArg, require_file

LONGEST = 2**20  # largest size of a file in bytes; such files have a few lines
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?nan|[-+]?inf", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class External:
    """Another program's estimate of one trait's heritability.

    Parameters
    ----------
    program
        "GCTA" or "GEMMA".
    path
        The file.
    h2, se
        Share of the genetic variance and its standard error on the program's own scale; nan where
        the file does not give it (GEMMA with two traits).
    genetic, residual
        Genetic variances (one for each matrix) and residual variance, on the scale of the
        program's matrix; nan where not given.
    n
        Number of individuals analysed; None where not given.
    trait
        Number of the trait, from 1, in a file with several traits; 0 in a file with one.
    genetic_se, residual_se
        Standard errors of the variances; nan where not given.
    """

    program: str
    path: Path
    h2: float
    se: float
    genetic: tuple[float, ...]
    residual: float
    n: int | None
    trait: int = 0
    genetic_se: tuple[float, ...] = field(default=())
    residual_se: float = math.nan


def read_external(path: PathArg) -> list[External]:
    """Read a ``.hsq`` of GCTA or a ``.log.txt`` of GEMMA, recognised by its content.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list of External
        One estimate for each trait in the file.

    Raises
    ------
    InputError
        If the file is missing, is neither of the two, is cut short, or holds text in place of a
        number. The message names file and line.
    """
    file = require_file(path)
    if file.stat().st_size > LONGEST:
        _refuse(file, f"a file of {file.stat().st_size:,} bytes")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        _refuse(file, "a file that is not text")
    except OSError as error:
        _refuse(file, str(error.strerror or error))
    first = next((line for line in lines if line.strip()), "")
    if first.split()[:3] == ["Source", "Variance", "SE"]:
        return _read_hsq(file, lines)
    if any("GEMMA" in line for line in lines[:20]):
        return _read_gemma(file, lines)
    if first.split()[:1] == ["HE-CP"]:
        _refuse(file, "a .HEreg of GCTA")
    _refuse(file, "a file of another kind" if first else "an empty file")


def _refuse(path: Path, found: str) -> NoReturn:
    raise InputError(
        found,
        "a .hsq of GCTA (it starts with 'Source Variance SE') or the .log.txt of GEMMA -lmm",
        "give the file that 'gcta64 --reml --out X' wrote as X.hsq, or GEMMA as output/X.log.txt",
        path=path,
    )


def _number(path: Path, line: int, text: str, what: str) -> float:
    if not NUMBER.fullmatch(text):
        raise InputError(
            f"'{text}' as {what}", "a number", "check the file; run the program again",
            path=path, line=line,
        )  # fmt: skip
    return float(text)


def _read_hsq(path: Path, lines: list[str]) -> list[External]:
    """Parse rows ``name value [se]`` after the header; "Sum of V(G)/Vp" is one name."""
    known: dict[str, tuple[float, float]] = {}
    for at, line in enumerate(lines, 1):
        fields = line.split()
        size = 3 if fields[:2] == ["Sum", "of"] else 1
        cells = [" ".join(fields[:size]), *fields[size:]]
        if len(cells) < 2 or cells[0] == "Source":
            continue
        name = cells[0]
        if name in known:
            raise InputError(f"'{name}' twice", "every row once",
                             "check the file; run GCTA again", path=path, line=at)  # fmt: skip
        wanted = name == "n" or name.startswith(("V(", "C(", "Vp", "Sum", "rG"))
        if wanted:
            se = _number(path, at, cells[2], f"the SE of {name}") if len(cells) > 2 else math.nan
            known[name] = (_number(path, at, cells[1], name), se)
    if any(name.endswith("_tr1") for name in known):
        return [_hsq_trait(path, known, trait) for trait in (1, 2)]
    return [_hsq_trait(path, known, 0)]


def _hsq_trait(path: Path, known: dict[str, tuple[float, float]], trait: int) -> External:
    end = f"_tr{trait}" if trait else ""
    parts = [name for name in known if re.fullmatch(rf"V\((G\d*|\d+)\){end}", name)]
    alone = parts[0].removesuffix(end) if len(parts) == 1 else "V(G)"
    total = f"Sum of V(G)/Vp{end}" if len(parts) > 1 else f"{alone}/Vp{end}"
    for name in (*(parts or [f"V(G){end}"]), f"V(e){end}", total):
        if name not in known:
            raise InputError(
                f"no row '{name}'", "the rows V(G), V(e), Vp and V(G)/Vp of 'gcta64 --reml'",
                "check that the file is whole; without estimates GCTA did not converge", path=path,
            )  # fmt: skip
    h2, se = known[total]
    if not math.isfinite(h2):
        raise InputError(f"{total} is {h2}", "a number", "run GCTA again: it did not converge",
                         path=path)  # fmt: skip
    n = known.get("n", (math.nan, math.nan))[0]
    residual, residual_se = known[f"V(e){end}"]
    return External(
        "GCTA", path, h2, se, tuple(known[name][0] for name in parts), residual,
        int(n) if math.isfinite(n) else None, trait,
        tuple(known[name][1] for name in parts), residual_se,
    )  # fmt: skip


def _read_gemma(path: Path, lines: list[str]) -> list[External]:
    n_text = _after(path, lines, "number of analyzed individuals", required=False)
    n = int(n_text[0]) if n_text and math.isfinite(n_text[0]) else None
    if any("REMLE estimate for Vg" in line for line in lines):
        return _gemma_several(path, lines, n)
    pve = _after(path, lines, "pve estimate in the null model")
    if not math.isfinite(pve[0]):
        raise InputError(f"the pve is {pve[0]}", "a number",
                         "check phenotype and matrix, and run GEMMA again", path=path)  # fmt: skip
    se = _after(path, lines, "se(pve) in the null model", required=False) or [math.nan]
    vg = _after(path, lines, "vg estimate in the null model", required=False) or [math.nan]
    ve = _after(path, lines, "ve estimate in the null model", required=False) or [math.nan]
    return [External("GEMMA", path, pve[0], se[0], (vg[0],), ve[0], n)]


def _after(path: Path, lines: list[str], key: str, required: bool = True) -> list[float]:
    """Return the numbers after ``## key =``; an empty list where the line is absent."""
    for at, line in enumerate(lines, 1):
        name, sign, rest = line.removeprefix("##").partition("=")
        if sign and name.strip() == key:
            found = [_number(path, at, field, key) for field in rest.split()]
            if found:
                return found
            raise InputError(f"nothing after '{key} ='", "a number",
                             "check the file; run GEMMA again", path=path, line=at)  # fmt: skip
    if required:
        raise InputError(
            f"no line '## {key} = '", "the log of a GEMMA linear mixed model",
            "run gemma -lmm (its output/X.log.txt); -gk, -bslmm and -lm give no pve", path=path,
        )  # fmt: skip
    return []


def _gemma_several(path: Path, lines: list[str], n: int | None) -> list[External]:
    """Read the diagonals of the REML estimates Vg and Ve, printed as lower triangles."""
    Vg, Ve = (_triangle(path, lines, f"REMLE estimate for {name}") for name in ("Vg", "Ve"))
    if len(Vg) != len(Ve):
        raise InputError(f"{len(Vg)} traits in Vg, {len(Ve)} in Ve", "the same number",
                         "check that the file is whole", path=path)  # fmt: skip
    start = next(i for i, line in enumerate(lines) if "REMLE estimate for Vg" in line)
    g_se, e_se = (_triangle(path, lines[start:], f"se({name})", start, len(Vg))
                  for name in ("Vg", "Ve"))  # fmt: skip
    return [
        External("GEMMA", path, math.nan, math.nan, (g,), e, n, k + 1, (gs,), es)
        for k, (g, e, gs, es) in enumerate(zip(Vg, Ve, g_se, e_se, strict=True))
    ]


def _triangle(
    path: Path, lines: list[str], key: str, before: int = 0, size: int | None = None
) -> list[float]:
    """Return the diagonal of the lower triangle below the line with `key`.

    With `size` the triangle may be absent; its diagonal is then nan.
    """
    for at, line in enumerate(lines):
        if key not in line:
            continue
        diagonal: list[float] = []
        for row, text in enumerate(lines[at + 1 :], at + 2 + before):
            fields = text.split()
            if not fields or text.startswith("##"):
                break
            if len(fields) != len(diagonal) + 1:
                raise InputError(f"{len(fields)} numbers in row {len(diagonal) + 1} below '{key}'",
                                 f"{len(diagonal) + 1}, a lower triangle",
                                 "check that the file is whole", path=path, line=row)  # fmt: skip
            diagonal.append([_number(path, row, field, key) for field in fields][-1])
        if diagonal and size in (None, len(diagonal)):
            return diagonal
    if size is not None:
        return [math.nan] * size
    raise InputError(f"nothing below '{key}'", "the estimates of two traits or more",
                     "check that the file is whole", path=path)  # fmt: skip
