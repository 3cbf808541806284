"""Reading text safely, writing files atomically, checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bayeslmm.errors import InputError

type PathArg = str | os.PathLike[str]


def read_lines(path: PathArg) -> list[str]:
    """Lines of a UTF-8 text file, without line ends.

    A byte order mark and Windows line ends are accepted; a missing file, other encodings and
    NUL bytes are errors that say where.

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
            "check that this is the file you meant; a binary file was given",
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
    """Content of a file; a missing or unreadable one is an `InputError`."""
    require_file(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", "a readable file", "check it", path=path
        ) from None


def require_file(path: PathArg) -> Path:
    """Return `path` as a `Path`, or raise an `InputError` if it is not a file."""
    file = Path(path)
    if not file.is_file():
        found = "is a directory" if file.is_dir() else "no such file"
        raise InputError(found, "an existing file", "check the path", path=path)
    return file


@contextlib.contextmanager
def atomic_path(path: PathArg) -> Iterator[Path]:
    """Give a temporary path in the same folder that becomes `path` only on success.

    The data is flushed to disk before the rename, so `path` is always the old file or the whole
    new one. On any exception the temporary file is removed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp" + target.suffix, dir=target.parent
        )
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}",
            "a folder that can be written to",
            "choose another --out",
            path=path,
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(
            f"writing failed: {error.strerror}",
            "enough space and permission",
            "free some space or choose another --out; no half-written file is left",
            path=path,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: PathArg, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: PathArg) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(require_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
