import os
import tempfile
from collections import Counter
from pathlib import Path
from threading import Event as Flag

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Intake
from inspection.station.sources.folder import FolderSource
from inspection.station.sources.settings import FolderSettings
from tests.station.sources.files import (
    RecordedNothing,
    drained,
    encoded,
    next_part,
    put,
    red,
    running,
)

NAMES = ("a.png", "b.png", "sub/a.png")
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from((10, 140, 230))),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.integers(1, 10**9)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("run"), st.just(""), st.just(0)),
)


@pytest.mark.fast
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, max_size=10))
def test_whatever_happens_to_files_each_identity_has_one_event(steps):
    """Written, touched, removed, brought back in any order: one id per path and bytes seen.

    All of it between two runs: a process that did not see a file being written must not take it for
    a new part. One that did does so, see `test_what_is_written_anew_is_a_part_until_the_restart`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, record, intake = Path(name), RecordedNothing(), Intake(100)
        watched = FolderSettings(path=folder, settle_ms=0, poll_ms=1, once=True)
        present: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        events: dict[str, tuple[str, int]] = {}
        for step, file, value in [*steps, ("run", "", 0)]:
            path = folder / file
            if step == "write":
                put(folder, file, encoded(value))
                present[file] = value
            elif step == "touch" and file in present:
                os.utime(path, (value, value))
            elif step == "remove" and file in present:
                path.unlink()
                del present[file]
            elif step == "run":
                source = FolderSource(watched, lambda _: ("main",), lambda: record, SYSTEM_CLOCK)
                source.run(intake, Flag())
                for part in drained(intake):
                    shown = (part.frames[0].source, red(part))
                    assert events.setdefault(part.event_id, shown) == shown
                    record.note(part)
                seen |= set(present.items())
    assert Counter(events.values()) == Counter(seen)


def test_what_is_written_anew_is_a_part_until_the_restart(tmp_path):
    """A running process cannot tell a touch from a frozen camera: a part; after a restart, known.

    The guard of the loop then says FAULT, the same bytes; a restart over files that stand as they
    were judged, in whichever writing, hands in none of them.
    """
    record, intake = RecordedNothing(), Intake(10)
    watched = FolderSettings(path=tmp_path, settle_ms=0, poll_ms=1)

    def start(watched: FolderSettings) -> FolderSource:
        return FolderSource(watched, lambda _: ("main",), lambda: record, SYSTEM_CLOCK)

    put(tmp_path, "a.png", encoded(10))
    with running(start(watched), intake):
        first = next_part(intake)
        os.utime(tmp_path / "a.png", (5, 5))
        touched = next_part(intake)
    record.note(first)
    record.note(touched)
    assert touched.event_id != first.event_id
    once = watched.model_copy(update={"once": True})
    start(once).run(intake, Flag())
    assert drained(intake) == []
    os.utime(tmp_path / "a.png", (6, 6))
    start(once).run(intake, Flag())
    (known,) = drained(intake)
    assert known.event_id == first.event_id
