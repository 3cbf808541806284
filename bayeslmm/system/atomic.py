"""Write files atomically: whole or not at all, one file or several together."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bayeslmm.errors import InputError
from bayeslmm.system.memory import gib

type PathArg = str | os.PathLike[str]

INTERRUPTED = (
    "The run that wrote this set of files was interrupted while it put them in place. They may "
    "belong to two runs. Run it again."
)
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_OPEN: set[str] = set()  # temporary names in use by this process


@contextlib.contextmanager
def atomic_path(path: PathArg) -> Iterator[Path]:
    """Give a temporary path in the same folder that becomes `path` only on success.

    The data are flushed to disk before the rename, so `path` is always the old file or the whole
    new one. On any exception the temporary file is removed. If a process was killed, the next
    writer of the same `path` removes its temporary file.

    Raises
    ------
    InputError
        If there is no space or no permission. An old file at `path` stays as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    with atomic_paths([path]) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_paths(paths: Iterable[PathArg]) -> Iterator[list[Path]]:
    """Give temporary paths for a set of files that become `paths` only on success.

    All are on disk before the first is renamed; the first of `paths` is renamed last. Files cannot
    be renamed all at once. So a marker ``FILE.incomplete`` stands beside each file of a set
    meanwhile, and `require_file` rejects a file with a marker. If a run is killed between renames,
    its files are therefore not taken for one set with older files. The next complete write removes
    the markers.

    Raises
    ------
    InputError
        As `atomic_path`. If a rename fails after another succeeded, the markers stay.
    """
    targets = [Path(path) for path in paths]
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_new_file(target))
        yield list(temporaries)
        _install(temporaries, targets)
    except (OSError, RuntimeError) as error:  # HDF5 may report a full disk as RuntimeError
        if (number := _errno(error)) is None:
            raise
        raise _failed(number, targets, temporaries) from error
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
            _OPEN.discard(temporary.name)


def _new_file(target: Path) -> Path:
    """Create an empty temporary file for `target` and its folder; remove abandoned ones."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target)
        prefix = f".{target.name}.{_HOST}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(".tmp" + target.suffix, prefix, target.parent)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}",
            "a folder that can be written to",
            "choose another --out",
            path=target,
        ) from None
    os.close(handle)
    _OPEN.add(Path(name).name)
    return Path(name)


def _install(temporaries: list[Path], targets: list[Path]) -> None:
    """Flush, mark, rename (the first file last) and unmark all files."""
    umask = os.umask(0)
    os.umask(umask)
    for temporary in temporaries:
        flush(temporary)
        temporary.chmod(0o666 & ~umask)
    folders = dict.fromkeys(target.parent for target in targets)
    markers = [incomplete(target) for target in targets] if len(targets) > 1 else []
    renamed = 0
    try:
        for marker in markers:
            marker.write_text(f"{INTERRUPTED}\n", encoding="utf-8")
        if markers:
            _flush_folders(folders)
        for temporary, target in reversed(list(zip(temporaries, targets, strict=True))):
            os.replace(temporary, target)
            renamed += 1
        _flush_folders(folders)
    finally:
        if renamed in (0, len(targets)):
            for target in targets:
                incomplete(target).unlink(missing_ok=True)


def incomplete(target: Path) -> Path:
    """Return the path of the marker beside a file of an incomplete set."""
    return target.with_name(f"{target.name}.incomplete")


def flush(path: Path) -> None:
    """Flush a file's data to disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folders(folders: Iterable[Path]) -> None:
    """Flush folders' names to disk, where the system can."""
    for folder in folders:
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def remove_abandoned(target: Path) -> None:
    """Remove temporary files for `target` that ended or killed processes left."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{6}})-(\d+)-\w+\.tmp.*")
    with os.scandir(target.parent) as entries:
        found = [(entry.name, pattern.fullmatch(entry.name)) for entry in entries]
    for name, match in found:
        left = target.with_name(name)
        if match is not None and _abandoned(left, match[1], int(match[2])):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _abandoned(left: Path, host: str, pid: int) -> bool:
    """Tell whether a temporary file's process has ended; from another machine, after a day."""
    if host != _HOST:
        with contextlib.suppress(OSError):
            return time.time() - left.stat().st_mtime > 86400.0
        return False
    if pid == os.getpid():
        return left.name not in _OPEN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@contextlib.contextmanager
def scratch_folder(target: PathArg) -> Iterator[Path]:
    """Give a temporary folder beside `target`; it is removed, also after a killed process."""
    path = Path(target)
    remove_abandoned(path)
    prefix = f".{path.name}.{_HOST}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(".tmp", prefix, path.parent) as name:
        _OPEN.add(Path(name).name)
        try:
            yield Path(name)
        finally:
            _OPEN.discard(Path(name).name)


def require_space(path: PathArg, n_bytes: int, what: str) -> None:
    """Raise `InputError` if less than `n_bytes` are free where `path` will be.

    Parameters
    ----------
    path
        The file to write.
    n_bytes
        Its size.
    what
        Subject of the message: "the GRM of 100000 individuals".
    """
    folder = Path(path).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise InputError(
            f"{what} needs {gib(n_bytes)} on disk, and {gib(free)} are free in {folder}",
            "enough space",
            "free some space or choose another folder; nothing was written",
            path=path,
        )


def _errno(error: BaseException | None) -> int | None:
    """Return the system's error number of an exception or of its cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if match := re.search(r"errno = (\d+)", str(error)):  # HDF5
            return int(match[1])
        error = error.__context__
    return None


def _failed(number: int, targets: list[Path], temporaries: list[Path]) -> InputError:
    """Return the error for a failed write; for a full disk with the space needed and free."""
    why = os.strerror(number)
    folder = targets[0].parent
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        written = sum(path.stat().st_size for path in temporaries if path.exists())
        free = gib(shutil.disk_usage(folder).free + written)
        why += f" (more than {gib(written)} are needed, and {free} are free in {folder})"
    names = f"{', '.join(path.name for path in targets)}: " if len(targets) > 1 else ""
    return InputError(
        f"{names}writing failed: {why}",
        "enough space and permission",
        "free some space or choose another --out; no half-written file is left, and older files "
        "are unchanged",
        path=targets[0] if len(targets) == 1 else folder,
    )
