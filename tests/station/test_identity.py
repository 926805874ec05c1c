import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.station.parts import configure, encoded, put, recorded, run

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
    """Written, touched, removed, brought back in any order: one event per path and bytes seen."""
    with tempfile.TemporaryDirectory() as folder:
        config = configure(Path(folder))
        present: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        for step, name, value in [*steps, ("run", "", 0)]:
            path = config.source / name
            if step == "write":
                put(config.source, name, encoded(value))
                present[name] = value
            elif step == "touch" and name in present:
                os.utime(path, (value, value))
            elif step == "remove" and name in present:
                path.unlink()
                del present[name]
            elif step == "run":
                run(config)
                seen |= set(present.items())
        scores = Counter(
            (event.source, round((event.score or 0) * 255)) for event in recorded(config)
        )
    assert scores == Counter(seen)
