"""What comes from outside is read within limits, and never waited for."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inspection.core.limits import Budget, read_file

pytestmark = pytest.mark.fast


def test_file_within_its_limit_is_read_whole(tmp_path: Path):
    """The limit itself is allowed."""
    (tmp_path / "card.json").write_bytes(b"12345")
    assert read_file(tmp_path / "card.json", 5) == b"12345"


def test_file_beyond_its_limit_is_refused_unread(tmp_path: Path):
    """A sparse file of 1.5 GB takes no memory."""
    with (tmp_path / "card.json").open("wb") as stream:
        stream.truncate(1_500_000_000)
    with pytest.raises(OSError, match=r"has more than 1,000 bytes; expected at most"):
        read_file(tmp_path / "card.json", 1_000)


def test_fifo_is_refused_at_once(tmp_path: Path):
    """Opening one for reading would wait for a writer for ever."""
    os.mkfifo(tmp_path / "card.json")
    with pytest.raises(OSError, match=r"is no regular file; expected one: '.*card\.json'"):
        read_file(tmp_path / "card.json", 1_000)


def test_link_is_refused(tmp_path: Path):
    """A link may lead anywhere."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "card.json").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links"):
        read_file(tmp_path / "card.json", 1_000)


def test_file_that_says_it_is_empty_is_still_bounded():
    """Files of /proc have no size; what they give is counted."""
    with pytest.raises(OSError, match="has more than 10 bytes"):
        read_file(Path("/proc/self/status"), 10)


def test_budget_holds_no_more_than_its_limit():
    """Of a hundred threads that each take three, at most three hold at once of ten."""
    budget = Budget(10)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: budget.take(3), range(100)))
    assert taken.count(True) == 3
    budget.release(3)
    assert budget.take(4)
    assert not budget.take(1)


def test_a_budget_gives_each_holder_its_share():
    """What one may not have, another may; what is given back may be taken again."""
    budget = Budget(10, 4)
    assert budget.take(4, "a")
    assert not budget.take(1, "a")
    assert budget.take(3, "b")
    assert budget.take(3, "c")
    assert not budget.take(1, "d"), "nothing is left"
    budget.release(4, "a")
    assert budget.take(2, "a")
    assert budget.take(2, "d")
