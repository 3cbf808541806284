"""Memory is estimated before it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

import bayeslmm.system.memory as memory
from bayeslmm.errors import InputError
from bayeslmm.system.memory import available_memory, gib, require_memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path / "sys")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    return tmp_path


def group(folder: Path, names: list[str], values: list[object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, values, strict=True):
        (folder / name).write_text(f"{value}\n")


V2 = ["memory.max", "memory.current", "memory.stat"]
V1 = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"]


def test_this_machine_says_something_sensible() -> None:
    room = available_memory()
    assert room is None or 2**20 < room < 2**60


def test_available_memory_of_the_machine(system: Path) -> None:
    assert available_memory() == 4000 * 1024


def test_the_tightest_control_group_counts(system: Path) -> None:
    (system / "cgroup").write_text("0::/job/step\n")
    group(system / "sys/job/step", V2, ["max", 10, "inactive_file 5"])
    assert available_memory() == 4000 * 1024
    group(system / "sys/job", V2, [900_000, 500_000, "anon 1\ninactive_file 100000"])
    assert available_memory() == 900_000 - 500_000 + 100_000


def test_control_groups_of_version_1(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu:/x\n4:memory:/docker/abc\n")
    group(system / "sys/memory/docker/abc", V1, [700_000, 650_000, "total_inactive_file 20000"])
    assert available_memory() == 70_000


def test_an_overdrawn_group_has_nothing_left(system: Path) -> None:
    (system / "cgroup").write_text("0::/\n")
    group(system / "sys", V2, [100, 200, "inactive_file 0"])
    assert available_memory() == 0


def test_a_group_outside_the_tree_is_left_alone(system: Path) -> None:
    (system / "cgroup").write_text("0::/../../elsewhere\nrubbish\n")
    assert available_memory() == 4000 * 1024


def test_nothing_is_checked_where_the_system_does_not_say(system: Path) -> None:
    (system / "meminfo").unlink()
    assert available_memory() is None
    require_memory(2**70, "a world", "none")


def test_too_much_is_refused_in_words(system: Path) -> None:
    require_memory(4000 * 1024, "a small thing", "nothing")
    with pytest.raises(
        InputError, match=r"the GRM needs 1\.0 GiB of memory, and 3\.9 MiB are .* -> use --keep"
    ):
        require_memory(2**30, "the GRM", "use --keep")


def test_sizes_in_words() -> None:
    assert gib(2**20) == "1.0 MiB"
    assert gib(2**40) == "1024.0 GiB"
