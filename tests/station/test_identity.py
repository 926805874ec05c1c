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
from tests.station.sources.files import RecordedNothing, drained, encoded, put, red

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
    """Written, touched, removed, brought back in any order: one id per path and bytes seen."""
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
