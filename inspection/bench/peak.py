"""Tells the most memory a process ever had."""

from pathlib import Path


def peak_memory(pid: int) -> int | None:
    """Give the most resident memory a process ever had, bytes; none where the system hides it.

    It is VmHWM, which begins anew with the program; `ru_maxrss` carries the parent's peak over.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
