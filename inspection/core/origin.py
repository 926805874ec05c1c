"""Says when, on what machine and with which versions something was made."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inspection.core.records import Origin


def describe_origin(packages: Iterable[str]) -> Origin:
    """Describe this moment, machine and the installed versions of `packages`."""
    return Origin(
        created_at=datetime.now(UTC),
        git_revision=git_revision(),
        machine=f"{_processor()}, {os.cpu_count()} cores",
        versions={name: _version(name) for name in sorted({*packages, "inspection"})}
        | {"python": platform.python_version()},
    )


def git_revision() -> str:
    """Give the commit of the checkout this package runs from; 'unknown' outside one."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "unknown"
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
