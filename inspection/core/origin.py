"""Says when, on what machine and with which versions something was made.

The date is the one thing of it that differs when the same is made again. Whoever needs the same
bytes fixes it: by `dated`, or by the variable SOURCE_DATE_EPOCH (reproducible-builds.org).
"""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inspection.core.errors import ConfigError
from inspection.core.records import Origin

DATE_VARIABLE = "SOURCE_DATE_EPOCH"
_fixed: ContextVar[datetime | None] = ContextVar("_fixed", default=None)


@contextmanager
def dated(at: datetime) -> Iterator[None]:
    """Let what this thread makes within the block bear this date, aware."""
    before = _fixed.set(at.astimezone(UTC))
    try:
        yield
    finally:
        _fixed.reset(before)


def describe_origin(packages: Iterable[str]) -> Origin:
    """Describe this moment, or the one that was fixed, machine and versions of `packages`.

    Raises:
        ConfigError: SOURCE_DATE_EPOCH is no time.
    """
    return Origin(
        created_at=_fixed.get() or _named_date() or datetime.now(UTC),
        git_revision=git_revision(),
        machine=f"{_processor()}, {os.cpu_count()} cores",
        versions={name: _version(name) for name in sorted({*packages, "inspection"})}
        | {"python": platform.python_version()},
    )


def _named_date() -> datetime | None:
    named = os.environ.get(DATE_VARIABLE)
    if not named:
        return None
    try:
        return datetime.fromtimestamp(int(named), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"{DATE_VARIABLE}: found '{named}'; wanted whole seconds since 1970; set it so or "
            "leave it out"
        ) from error


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
