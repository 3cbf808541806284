"""Read text safely, write it atomically, compute checksums."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bayeslmm.errors import InputError
from bayeslmm.system.atomic import PathArg as PathArg
from bayeslmm.system.atomic import atomic_path as atomic_path
from bayeslmm.system.atomic import incomplete


def read_lines(path: PathArg) -> list[str]:
    """Read the lines of a UTF-8 text file, without line ends.

    A byte order mark and Windows line ends are accepted. Other encodings and NUL bytes are errors
    that name the line.

    Raises
    ------
    InputError
        If the file is missing, is a directory, is not UTF-8 or holds a NUL byte.
    """
    data = read_bytes(path)
    if (nul := data.find(b"\0")) >= 0:
        raise InputError(
            f"a NUL byte at offset {nul}",
            "a plain text file",
            "check that this is the right file; a binary file was given",
            path=path,
            line=data.count(b"\n", 0, nul) + 1,
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8",
            "UTF-8 text (with or without a byte order mark)",
            f"convert it, for instance: iconv -f LATIN1 -t UTF-8 {os.fspath(path)}",
            path=path,
            line=data.count(b"\n", 0, error.start) + 1,
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_bytes(path: PathArg) -> bytes:
    """Read a file; raise `InputError` if it is missing or unreadable."""
    require_file(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", "a readable file", "check it", path=path
        ) from None


def require_file(path: PathArg) -> Path:
    """Return `path` as a `Path`; raise `InputError` if it is not a file or its set incomplete."""
    file = Path(path)
    if incomplete(file).is_file() and file.is_file():
        raise InputError(
            "one of several files that an interrupted run was putting in place: they may belong to "
            "two runs",
            "a set of files from one run",
            f"run it again; or, if they are right, delete {incomplete(file)}",
            path=path,
        )
    if not file.is_file():
        found = "is a directory" if file.is_dir() else "no such file"
        raise InputError(found, "an existing file", "check the path", path=path)
    return file


def write_text(path: PathArg, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: PathArg) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with open(require_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
