"""Read the tables of PLINK file sets: .fam, .bim, .psam and .pvar.

Regular files are read by columns, which is fast; all others line by line.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.plink_columns import (
    regular_bim,
    regular_fam,
    regular_fam_phenotypes,
    regular_psam,
    regular_pvar,
)
from bayeslmm.genotypes.plink_lines import (
    PSAM_HEADER,
    PVAR_HEADER,
    bim_like,
    fam_rows,
    fam_value,
    header_of,
    individuals_of,
    rows_of,
    variant_table,
)
from bayeslmm.individuals import NO_FAMILY
from bayeslmm.system.files import PathArg, read_lines

VARIANT_COLUMNS = ["CHROM", "POS", "ID", "A1", "A0"]


def read_fam(path: PathArg) -> pd.MultiIndex:
    """Read the individuals of a ``.fam`` file, in its order.

    Parameters
    ----------
    path
        The file: ``FID IID PAT MAT SEX PHENO ...``, separated by blanks or tabs, without header.
        Further phenotype columns are allowed, as in GEMMA.

    Returns
    -------
    individuals
        (n,) with the levels ``FID`` and ``IID``.

    Raises
    ------
    InputError
        If a line is blank, columns are ragged or too few, (FID, IID) repeats, or there is no row.
    """
    if (individuals := regular_fam(path)) is not None:
        return individuals
    rows = list(fam_rows(path, read_lines(path), least=6))
    return individuals_of([(row[0], row[1]) for _, row in rows], path, [line for line, _ in rows])


def read_fam_phenotypes(path: PathArg) -> pd.DataFrame:
    """Read the phenotypes of a ``.fam`` file: its columns from the sixth on.

    Returns
    -------
    phenotypes
        (n, k) float64, indexed by (FID, IID), columns ``pheno1`` ... ``phenok``. ``-9``, ``NA`` and
        ``nan`` are missing (NaN); ``-9`` means missing in ``.fam`` files only.

    Raises
    ------
    InputError
        If `read_fam` rejects the file, or a value is not a finite number; the message names line
        and column.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "data.fam"
    ...     _ = file.write_text("F i1 0 0 1 1.5\\nF i2 0 0 2 -9\\n")
    ...     table = read_fam_phenotypes(file)
    >>> table["pheno1"].tolist()
    [1.5, nan]
    """
    if (frame := regular_fam_phenotypes(path)) is None:
        rows = list(fam_rows(path, read_lines(path), least=6))
        values = [
            [fam_value(text, path, line, number) for number, text in enumerate(row[5:], 6)]
            for line, row in rows
        ]
        columns = [f"pheno{k + 1}" for k in range(len(values[0]))]
        names = [(row[0], row[1]) for _, row in rows]
        index = individuals_of(names, path, [line for line, _ in rows])
        frame = pd.DataFrame(np.array(values, dtype=np.float64), index=index, columns=columns)
    frame.attrs["path"] = os.fspath(path)
    return frame


def read_bim(path: PathArg) -> pd.DataFrame:
    """Read the variants of a ``.bim`` file, in its order.

    Parameters
    ----------
    path
        The file: ``CHROM ID CM POS A1 A2``, separated by blanks or tabs, without header. A1 (column
        5) is the counted or effect allele; A2 becomes A0. Negative (unknown) positions are kept.

    Returns
    -------
    variants
        (m,) rows with the columns ``CHROM`` (str), ``POS`` (int), ``ID``, ``A1``, ``A0`` (str).

    Raises
    ------
    InputError
        If a line is blank or has not 6 columns, a position is not an integer, or there is no row.
    """
    if (variants := regular_bim(path)) is not None:
        return variants
    return bim_like(rows_of(path, read_lines(path), columns=(6,)), path)


def read_psam(path: PathArg) -> pd.MultiIndex:
    """Read the individuals of a ``.psam`` file, in its order.

    The header is ``#FID IID ...`` or ``#IID ...`` (then FID is "0", as in plink2). Without a header
    the columns are as in a ``.fam``.

    Raises
    ------
    InputError
        As `read_fam`; and if the header has no ``IID`` column.
    """
    if (individuals := regular_psam(path)) is not None:
        return individuals
    lines = read_lines(path)
    start, header = header_of(path, lines, PSAM_HEADER)
    if header is None:
        rows = list(fam_rows(path, lines, least=5, start=start))
        names = [(row[0], row[1]) for _, row in rows]
    else:
        if "IID" not in header:
            raise InputError(
                f"header {' '.join(header)!r} without IID",
                "a header '#FID IID ...' or '#IID ...'",
                "add the column, or re-make the file with plink2 --make-pgen",
                path=path,
                line=start,
            )
        rows = list(rows_of(path, lines, columns=(len(header),), start=start))
        at = header.index("IID")
        families = header[0] == "FID"
        names = [(row[0] if families else NO_FAMILY, row[at]) for _, row in rows]
    return individuals_of(names, path, [line for line, _ in rows])


def read_pvar(path: PathArg) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the variants of a ``.pvar`` file, in its order.

    Lines that begin with ``##`` are skipped. The header is ``#CHROM POS ID REF ALT ...``. Without a
    header the columns are as in a ``.bim`` (CM may be left out). ALT is A1, REF is A0.

    Returns
    -------
    variants
        As `read_bim`; a multiallelic row has its ALT alleles in A1, separated by commas.
    alleles
        (m,) number of alleles of each variant, at least 2.

    Raises
    ------
    InputError
        As `read_bim`; and if the header lacks one of the five columns.
    """
    if (variants := regular_pvar(path)) is None:
        variants = _pvar_by_line(path)
    return variants, variants["A1"].str.count(",").to_numpy(dtype=np.int64) + 2


def _pvar_by_line(path: PathArg) -> pd.DataFrame:
    lines = read_lines(path)
    start, header = header_of(path, lines, PVAR_HEADER)
    if header is None:
        return bim_like(rows_of(path, lines, columns=(5, 6), start=start), path)
    missing = [name for name in ("POS", "ID", "REF", "ALT") if name not in header]
    if missing:
        raise InputError(
            f"header without {', '.join(missing)}",
            "#CHROM POS ID REF ALT",
            "re-make the file with plink2 --make-pgen",
            path=path,
            line=start,
        )
    order = [header.index(name) for name in ("CHROM", "POS", "ID", "ALT", "REF")]
    rows = rows_of(path, lines, columns=(len(header),), start=start)
    return variant_table(((line, [row[k] for k in order]) for line, row in rows), path)


def warn_duplicate_variants(variants: pd.DataFrame, path: PathArg) -> None:
    """Warn of variant IDs that occur more than once; "." means no ID and may repeat."""
    repeated = variants["ID"].duplicated() & (variants["ID"] != ".")
    if repeated.any():
        shown = ", ".join(variants["ID"][repeated].head(5))
        warnings.warn(
            f"{Path(path)}: {int(repeated.sum())} variant IDs occur more than once ({shown}); "
            "they cannot be chosen by --extract or --exclude",
            BayesLMMWarning,
            stacklevel=3,
        )
