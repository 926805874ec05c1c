"""The bench of what commits cost: both checkouts are timed by the same lines, in turn."""

import os
from pathlib import Path

import numpy as np
import pytest

from inspection.bench import cost
from inspection.bench.command import ROOT
from inspection.bench.cost import NOW, check_out, median_interval, race
from inspection.bench.redness import make_bundle
from inspection.core.errors import ConfigError


@pytest.mark.fast
def test_interval_holds_the_median():
    """Of ratios that are all the same it is that ratio; of others it lies among them."""
    assert median_interval(np.full(8, 1.5)) == (1.5, 1.5)
    low, high = median_interval(np.arange(1.0, 10.0))
    assert (low, high) == (2.0, 8.0)


@pytest.mark.fast
def test_checkouts_take_turns_in_being_first():
    """Whatever the first of a round meets, both meet it as often; the warm-up does not count."""
    asked: list[str] = []

    def lane(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    times = race("", {"before": lambda: lane("before"), NOW: lambda: lane(NOW)}, 2)
    assert asked == ["before", NOW, NOW, "before", "before", NOW]
    assert times.of("before").tolist() == [4, 5]
    assert times.of(NOW).tolist() == [3, 6]


@pytest.mark.fast
def test_unknown_commit_is_refused(tmp_path: Path):
    """It is named, with what git says of it."""
    with pytest.raises(ConfigError, match=r"--against 'nowhere': fatal: .*expected a commit"):
        check_out("nowhere", tmp_path / "before")


@pytest.mark.fast
def test_commit_is_laid_out_as_it_was(tmp_path: Path):
    """The files of a commit, and nothing that lies in the working tree beside it."""
    folder = check_out("HEAD", tmp_path / "before")
    assert (folder / "inspection" / "core" / "errors.py").is_file()
    assert not (folder / ".git").exists()


@pytest.mark.parametrize("what", ["line", "hub"])
def test_lanes_time_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    """The lines that both checkouts run: a camera's triggers, and a hub that takes events."""
    keys = tmp_path / "keys"
    monkeypatch.setitem(os.environ, "INSPECTION_KEYS", str(keys))
    words = (make_bundle(tmp_path / "bundle"), 3) if what == "line" else (1,)
    assert 0 < cost.time_checkout(ROOT, tmp_path, what, *words) < 60_000
