"""Is a netCDF-4 file whole? It is asked in a process of its own, because HDF5 trusts what it reads.

A damaged HDF5 file can send the C library into an endless loop or make it take any amount of
memory (about one damaged file in 400 of ours does, ``tests/fuzz/README.md``), and nothing inside
the process can stop it. So a file of unknown origin is read once by a child, which may die.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SPARE = 200 << 20  # bytes that arrays may take beyond `RATIO` times the file
RATIO = 10
SECONDS = 60.0  # for a file of no size; and one more for every MiB


def why_damaged(path: Path, seconds: float | None = None) -> str | None:
    """Say in a few words why a netCDF-4 file cannot be read, or None if it can.

    Parameters
    ----------
    path
        The file; it exists.
    seconds
        Time the child may take; default 60 s and one more for every MiB of the file.
    """
    if seconds is None:
        seconds = SECONDS + path.stat().st_size / 2**20
    command = [sys.executable, "-m", "bayeslmm.system.hdf5", str(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the HDF5 library does not come to an end within {seconds:.0f} s"
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
        If the arrays are larger than `RATIO` times the file and `SPARE`.
    Exception
        Whatever h5py makes of the damage.
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
    """Probe the file named by the first argument, with little memory; 0 if it can be read."""
    path = Path(sys.argv[1])
    try:
        import resource

        limit = (4 << 30) + 2 * RATIO * path.stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        pass  # not on this system
    try:
        probe(path)
    except Exception as error:  # of h5py, whatever the damage leads it to
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
