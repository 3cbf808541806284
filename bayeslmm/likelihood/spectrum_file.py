"""A spectrum on disk: a `.npz` file without pickles, checked for damage when read."""

from __future__ import annotations

import math
import struct
import tokenize
import zlib
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.system.atomic import atomic_path, require_space
from bayeslmm.system.files import PathArg, require_file

# errors of zipfile and numpy when they read a damaged archive
_DAMAGE = (
    *(ValueError, KeyError, OSError, EOFError, TypeError, BadZipFile, NotImplementedError),
    *(RuntimeError, OverflowError, SyntaxError, struct.error, tokenize.TokenError, zlib.error),
)
NAMES = ("eigenvalues", "weights", "coupling", "schur", "triangle", "basis")


def write_arrays(path: PathArg, arrays: dict[str, NDArray[Any]], key: str) -> None:
    """Write the arrays of a spectrum, atomically."""
    size = sum(array.nbytes for array in arrays.values())
    require_space(path, size, f"a spectrum of {len(arrays['basis'])} records")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays, key=np.array(key))


def read_arrays(path: PathArg) -> tuple[dict[str, NDArray[Any]], str]:
    """Read a file written by `write_arrays`: the arrays by name, and the key.

    Raises
    ------
    InputError
        If the file is missing, damaged or not a spectrum.
    """
    values = _read_archive(path, *NAMES, "key")
    found = {name: values[name] for name in NAMES}
    s, w, R, W = (found[name] for name in ("eigenvalues", "weights", "triangle", "basis"))
    n, p, k = len(np.atleast_1d(W)), len(np.atleast_1d(R)), len(np.atleast_1d(s))
    columns = max(k + p - 1, min(W.shape[-1], k + p))  # one less if a node represents several
    shapes = ((k,), (k,), (p, k), (p, p), (p, p), (n, columns))
    for array, shape in zip(found.values(), shapes, strict=True):
        if array.shape != shape or array.dtype != float or not np.isfinite(array).all():
            raise no_spectrum(path, "its arrays do not fit together")
    if w.sum() != n - p or (w <= 0.0).any():
        raise no_spectrum(path, "its weights do not sum to the number of error contrasts")
    return found, str(values["key"])


def read_key(path: PathArg) -> str:
    """Read only the key of a spectrum."""
    return str(_read_archive(path, "key")["key"])


def _read_archive(path: PathArg, *names: str) -> dict[str, NDArray[Any]]:
    file = require_file(path)
    try:
        with ZipFile(file) as archive:
            return {name: _read_member(archive, f"{name}.npy") for name in names}
    except _DAMAGE as error:
        raise no_spectrum(path, str(error)) from None


def _read_member(archive: ZipFile, name: str) -> NDArray[Any]:
    """Read an array; compare its size with the header before allocating memory."""
    info = archive.getinfo(name)
    if info.compress_type != ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} has the version {version} of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = file.tell() + dtype.itemsize * math.prod(shape)
    held = info.file_size
    if min(shape, default=0) < 0 or dtype.hasobject or not expected == held == info.compress_size:
        raise ValueError(f"{name} has {held} bytes instead of {expected} as in its header")
    with archive.open(info) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def no_spectrum(path: PathArg, why: str) -> InputError:
    """Return the error for a file that is not a spectrum."""
    return InputError(
        f"not a spectrum file ({why})",
        "a .npz file written by Spectrum.save",
        "delete it; it will be computed again",
        path=path,
    )
