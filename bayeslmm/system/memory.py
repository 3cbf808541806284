"""Check available memory before large allocations: a message instead of a killed process."""

from __future__ import annotations

import os
from pathlib import Path

from bayeslmm.errors import InputError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that this process can still take, or None if the system does not say.

    It is the smaller of ``MemAvailable`` in ``/proc/meminfo`` and the room under the limits of
    control groups (containers, batch systems). Page cache that can be dropped counts as free.
    """
    known = [value for value in (_meminfo(), _cgroup_room()) if value is not None]
    return min(known, default=None)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return int(count or 1)


def require_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Raise `InputError` if `n_bytes` are more than the available memory.

    Parameters
    ----------
    n_bytes
        Bytes to allocate, at the peak.
    what
        Subject of the message: "the GRM of 100000 individuals".
    remedy
        What to do instead.

    Notes
    -----
    Nothing is checked where the system does not say how much is available (not Linux).

    Examples
    --------
    >>> require_memory(8, "one number", "buy a computer")
    """
    room = available_memory()
    if room is not None and n_bytes > room:
        raise InputError(
            f"{what} needs {gib(n_bytes)} of memory, and {gib(room)} are available",
            "a problem that fits into memory",
            remedy,
        )


def gib(n_bytes: int) -> str:
    """Write bytes as text in GiB, or in MiB when small.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**29 else f"{n_bytes / 2**20:.1f} MiB"


def _meminfo() -> int | None:
    try:
        rows = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(1024 * int(row.split()[1]) for row in rows if row.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _cgroup_room() -> int | None:
    """Return the least room in the process's control groups and their parents (v2 and v1)."""
    try:
        rows = [row.split(":", 2) for row in CGROUP.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    room: list[int] = []
    for row in rows:
        if len(row) == 3 and row[1] == "":
            names = ("memory.max", "memory.current", "inactive_file")
            room += _climb(CGROUP_ROOT, row[2], names)
        elif len(row) == 3 and "memory" in row[1].split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            room += _climb(CGROUP_ROOT / "memory", row[2], names)
    return min(room, default=None)


def _climb(root: Path, group: str, names: tuple[str, str, str]) -> list[int]:
    folder = root / group.lstrip("/")
    folders = [folder, *folder.parents]
    if root not in folders:
        return []
    found = (_limit_room(place, *names) for place in folders[: folders.index(root) + 1])
    return [value for value in found if value is not None]


def _limit_room(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Compute limit - usage + droppable cache of a control group; None without a limit."""
    try:
        allowed = int((folder / limit).read_text(encoding="ascii"))  # "max" is a ValueError
        used = int((folder / usage).read_text(encoding="ascii"))
        stat = dict(row.split() for row in (folder / "memory.stat").read_text("ascii").splitlines())
        return max(allowed - used + int(stat.get(cache, 0)), 0)
    except (OSError, ValueError):
        return None
