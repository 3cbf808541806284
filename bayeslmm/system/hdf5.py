"""Check netCDF-4 files in a child process, because a damaged file can hang HDF5.

A damaged HDF5 file can send the C library into an endless loop or make it take any amount of memory
(about one in 400 damaged files does, see ``tests/fuzz/README.md``). Nothing inside the process can
stop it. So a file of unknown origin is first read by a child process, which may die.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RATIO, SPARE = 10, 200 << 20  # arrays may take RATIO × the file's size + SPARE bytes
SECONDS = 60.0  # time for an empty file; one second more for every MiB


def why_damaged(path: Path, seconds: float | None = None) -> str | None:
    """Say why a netCDF-4 file cannot be read, or return None if it can.

    Parameters
    ----------
    path
        An existing file.
    seconds
        Time limit of the child. Default: 60 s and one more for every MiB of the file.
    """
    if seconds is None:
        seconds = SECONDS + path.stat().st_size / 2**20
    command = [sys.executable, "-m", "bayeslmm.system.hdf5", str(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the HDF5 library does not finish within {seconds:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"the HDF5 library is killed by signal {-done.returncode}"
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"the HDF5 library ends with code {done.returncode}"


def probe(path: Path) -> None:
    """Read all groups, attributes and arrays of a file.

    Raises
    ------
    ValueError
        If the arrays are larger than `RATIO` times the file plus `SPARE`.
    Exception
        Any exception of h5py, depending on the damage.
    """
    import h5py

    room = RATIO * path.stat().st_size + SPARE

    def take(shape: tuple[int, ...], itemsize: int) -> None:
        nonlocal room
        for length in shape:
            itemsize *= length
        room -= itemsize
        if room < 0:
            raise ValueError(f"an array of shape {shape} in a file of {path.stat().st_size} bytes")

    def visit(_: str, item: h5py.Group | h5py.Dataset) -> None:
        for name in item.attrs:
            identifier = item.attrs.get_id(name)
            take(identifier.shape, identifier.dtype.itemsize)
            item.attrs[name]
        if isinstance(item, h5py.Dataset):
            take(item.shape or (), item.dtype.itemsize)
            item[()]

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)


def main() -> int:
    """Probe the file named by the first argument under a memory limit; return 0 if readable."""
    path = Path(sys.argv[1])
    try:
        import resource

        limit = (4 << 30) + 2 * RATIO * path.stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        pass  # not on this system
    try:
        probe(path)
    except Exception as error:  # h5py raises many kinds
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
