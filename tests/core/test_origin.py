"""Origin: when, where and with what, without ever failing for lack of git or a package."""

import os
import platform
import re
from datetime import UTC, datetime, timedelta

import pytest

from inspection.core import origin
from inspection.core.origin import describe_origin, git_revision

pytestmark = pytest.mark.fast


def test_origin_names_time_machine_and_versions():
    """An origin has an aware time of now, the cores, and the version of each package, sorted."""
    found = describe_origin(["numpy", "no-such-package"])
    assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=1)
    assert found.machine.endswith(f", {os.cpu_count()} cores")
    assert list(found.versions) == ["inspection", "no-such-package", "numpy", "python"]
    assert found.versions["no-such-package"] == "absent"
    assert found.versions["python"] == platform.python_version()
    assert re.fullmatch(r"\d+\.\d+.*", found.versions["numpy"])


def test_checkout_without_git_is_unknown(monkeypatch, tmp_path):
    """Where git is missing or fails the revision is 'unknown' and nothing breaks."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() == "unknown"


def test_installed_package_is_unknown(monkeypatch, tmp_path):
    """Outside a checkout the revision is 'unknown', not that of some folder above."""
    (tmp_path / "inspection" / "core").mkdir(parents=True)
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "inspection" / "core" / "origin.py"))
    assert git_revision() == "unknown"


def test_revision_of_a_checkout_is_its_commit(monkeypatch, tmp_path):
    """Within a checkout the revision is what git describes, here by a stand-in for git."""
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text('#!/bin/sh\necho "0123456789ab-dirty"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent), prepend=os.pathsep)
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "tree" / "x" / "y" / "origin.py"))
    assert git_revision() == "0123456789ab-dirty"
