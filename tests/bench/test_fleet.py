from pathlib import Path

import pytest

from inspection.bench.retraining.fleet import count_begun
from inspection.retraining.remote import ASKED, GIVEN_UP, LOG, note

pytestmark = pytest.mark.fast


def test_only_what_a_worker_began_counts_as_begun(tmp_path: Path):
    """Asking is no beginning, nor is giving up; a second worker at the same step is a second."""
    for line in ("line-1", "line-2"):
        (tmp_path / line).mkdir()
        note(tmp_path / line / LOG, "a", "train", ASKED)
        note(tmp_path / line / LOG, "a", "train", "tcp://127.0.0.1:1")
    note(tmp_path / "line-2" / LOG, "a", "train", "tcp://127.0.0.1:2")
    note(tmp_path / "line-2" / LOG, "b", "export", ASKED)
    note(tmp_path / "line-2" / LOG, "b", "export", GIVEN_UP)
    assert count_begun(tmp_path) == 3
