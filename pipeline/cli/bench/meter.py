"""CPU and memory of processes, from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LISTEN: Final = "0A"
_PROC: Final = Path("/proc")


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds (user and system) these processes have used; those that are gone count nothing."""
    return sum(sum(_times(pid)[:2]) for pid in pids)


def server_cpu_s(parent: int) -> float:
    """CPU seconds of a process and its children, those that have ended included (PostgreSQL's postmaster and backends)."""
    return sum(_times(parent)) + sum(sum(_times(pid)[:2]) for pid in _all() if parent_of(pid) == parent)


def peak_mb(pids: Iterable[int]) -> float:
    """The sum of the most memory each process ever held (VmHWM, MB); shared pages count in each."""
    return sum(_status_kb(pid, "VmHWM") for pid in pids) / 1024


def memory_mb(pids: Iterable[int]) -> float:
    """The sum of what each process holds now (VmRSS, MB); shared pages count in each."""
    return sum(_status_kb(pid, "VmRSS") for pid in pids) / 1024


def parent_of(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def listener_on(port: int) -> int | None:
    """The process of this machine that listens on a TCP port; None where there is none, or it is not ours to see."""
    wanted = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    return next((pid for pid in _all() if wanted and wanted & _open_files(pid)), None)


def _listening(table: str, port: int) -> list[str]:
    rows = [line.split() for line in _read(_PROC / "net" / table).splitlines()[1:]]
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _open_files(pid: int) -> set[str]:
    try:
        return {os.readlink(entry) for entry in os.scandir(_PROC / str(pid) / "fd")}
    except OSError:  # it ended, or belongs to someone else
        return set()


def _all() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5)): the name before them may hold spaces."""
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


def _times(pid: int) -> tuple[float, float, float, float]:
    fields = _stat(pid)
    user, system, child_user, child_system = (int(field) / _TICKS_PER_S for field in (fields or ["0"] * 15)[11:15])
    return user, system, child_user, child_system


def _status_kb(pid: int, name: str) -> int:
    lines = _read(_PROC / str(pid) / "status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process ended meanwhile
        return ""
