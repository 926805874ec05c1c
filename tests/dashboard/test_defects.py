"""The Defects page: what was named, against reviewers, the parts of a type, a line without."""

import pandas as pd

from inspection.hub.wire.message import Page, Rate
from inspection.hub.wire.recognition import (
    Confusion,
    ConfusionCell,
    DetectorSeen,
    TypeAgreement,
    TypeCount,
)
from tests.dashboard import drawn
from tests.dashboard.fake import FakeHub, opened

TYPES, CONFUSION = "/v1/recognition/types", "/v1/recognition/confusion"


def rate(count: int, of: int) -> Rate:
    return Rate(count=count, of=of, value=count / of if of else None, low=0.1, high=0.9)


def confusion(*cells: tuple[str | None, str, int], detectors: int = 1) -> Confusion:
    return Confusion(
        at=drawn.AT,
        span_h=168,
        cells=tuple(ConfusionCell(found=f, said=s, parts=n) for f, s, n in cells),
        agreement=(
            TypeAgreement(type="crack", found=rate(3, 4), right=rate(3, 5)),
            TypeAgreement(type="pore", found=rate(0, 0), right=rate(0, 2)),
        ),
        detectors=tuple(
            DetectorSeen(detector="cells", detector_id=f"{n}" * 64, parts=9)
            for n in range(detectors)
        ),
    )


def line(found: Confusion | None = None) -> FakeHub:
    """A hub of a line on which cracks and pores were named."""
    rows = tuple(drawn.row(n, types={"crack": n, "pore": 1}) for n in (1, 2))
    return FakeHub(
        {
            ("GET", TYPES): drawn.types(crack=6, pore=2),
            ("GET", CONFUSION): found or confusion(("crack", "crack", 3), (None, "crack", 1)),
            ("GET", "/v1/events"): Page(items=rows, next=None),
            ("GET", "/v1/events/event-1/pictures/top.jpg"): drawn.jpeg(),
            ("GET", "/v1/events/event-2/pictures/top.jpg"): drawn.jpeg(),
        }
    )


def text(test) -> str:
    kinds = (test.markdown, test.caption, test.info, test.error, test.success)
    return "\n".join(one.value for kind in kinds for one in kind)


def test_types_reviewers_and_parts_are_shown():
    """Counts of the looks, how far people agree, and the last parts of the most frequent type."""
    hub = line()
    test = opened("defects", hub).run()
    assert not test.exception
    assert [one.value for one in test.metric] == ["9", "8", "1", "1 (11.1%)"]
    (table,) = (one.value for one in test.dataframe)
    pd.testing.assert_frame_equal(
        table,
        pd.DataFrame(
            {
                "type": ["crack", "pore"],
                "people's, found": ["3 of 4, 75.0% (10.0% to 90.0%)", "–"],
                "named, confirmed": [
                    "3 of 5, 60.0% (10.0% to 90.0%)",
                    "0 of 2, 0.00% (10.0% to 90.0%)",
                ],
            }
        ),
    )
    assert "2 crack, 1 pore" in text(test)
    asked = [one.url.params for one in hub.asked if one.url.path == "/v1/events"]
    assert [(one["line"], one["type"]) for one in asked] == [("line-1", "crack")]
    test.selectbox(key="defects_type").select("pore").run()
    assert hub.asked[-1].url.params["type"] == "pore"
    assert {one.url.params.get("hours") for one in hub.asked if one.url.path == TYPES} == {"168"}


def test_one_product_is_chosen_among_several():
    """Counts, confusion and parts are asked of it."""
    several = drawn.types(crack=6)
    bolt = TypeCount(line="line-1", product="bolt", type="crack", parts=1, objects=1)
    hub = line()
    hub.answers["GET", TYPES] = several.model_copy(update={"types": (*several.types, bolt)})
    test = opened("defects", hub).run()
    test.selectbox(key="defects_product").select("bolt").run()
    assert not test.exception
    last = {one.url.path: one.url.params for one in hub.asked}
    assert {last[path]["product"] for path in (TYPES, CONFUSION, "/v1/events")} == {"bolt"}


def test_one_detector_is_chosen_among_several():
    """Two versions of one detector are no single judge."""
    hub = line(confusion(("crack", "crack", 3), detectors=2))
    test = opened("defects", hub).run()
    test.selectbox(key="defects_detector").select("1" * 64).run()
    assert not test.exception
    wanted = [one.url.params.get("detector_id") for one in hub.asked if one.url.path == CONFUSION]
    assert wanted == [None, None, "1" * 64]


def test_without_decisions_reviewing_is_offered():
    """Nothing can be held against nobody's word."""
    test = opened("defects", line(confusion())).run()
    assert not test.exception
    assert "No part that could be looked at in time is decided yet" in text(test)


def test_nothing_named_is_said_as_such():
    """Parts were looked at, and none had a known defect."""
    hub = line(confusion())
    hub.answers["GET", TYPES] = drawn.types().model_copy(update={"looks": {"done": 5}})
    test = opened("defects", hub).run()
    assert not test.exception
    assert "Nothing was named on any of them" in text(test)


def test_what_was_skipped_is_not_what_was_looked_at():
    """The share that came late is of those looked at; of none, nothing is praised."""
    hub = line()
    looks = {"done": 8, "late": 2, "skipped": 90}
    hub.answers["GET", TYPES] = drawn.types(crack=6).model_copy(update={"looks": looks})
    test = opened("defects", hub).run()
    cells = {one.label: one.value for one in test.metric}
    assert (cells["Parts looked at"], cells["Late or failed"]) == ("10", "2 (20.0%)")
    hub.answers["GET", TYPES] = drawn.types().model_copy(update={"looks": {"skipped": 90}})
    test = opened("defects", hub).run()
    assert "none was looked at" in text(test)
    assert "Nothing was named" not in text(test)


def test_a_line_without_a_second_stage_says_how_to_have_one():
    """And asks for nothing else."""
    hub = FakeHub({("GET", TYPES): drawn.types()})
    test = opened("defects", hub).run()
    assert "inspection recognise import" in text(test)
    assert [one.url.path for one in hub.asked] == [TYPES]


def test_a_hub_without_lines_has_nothing_to_show():
    """No request is made."""
    hub = FakeHub()
    test = opened("defects", hub, line="").run()
    assert "knows no line yet" in text(test)
    assert hub.asked == []
