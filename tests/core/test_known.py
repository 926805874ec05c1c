"""Known defects hold a part: never better by one object more, never a PASS by a fault."""

from itertools import product

import pytest
from pydantic import ValidationError

from inspection.core.decision import Verdict, severity
from inspection.core.known import (
    HoldFrom,
    Holds,
    Recognised,
    count_types,
    hold,
    hold_unseen,
    unknown_types,
    words_of_types,
)

pytestmark = pytest.mark.fast
PASS, REVIEW, REJECT, FAULT = Verdict.PASS, Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT
CRACKS = HoldFrom(review_from=0.3, reject_from=0.8)
HOLDS = Holds(types={"crack": CRACKS, "stain": HoldFrom(review_from=None)})


@pytest.mark.parametrize(
    ("verdict", "found", "after", "reason"),
    [
        (PASS, [], PASS, ""),
        (PASS, [("pore", 0.49)], PASS, ""),
        (PASS, [("pore", 0.5)], REVIEW, "known defects: pore 0.50"),
        (PASS, [("pore", 1.0)], REVIEW, "known defects: pore 1.00"),
        (PASS, [("crack", 0.3)], REVIEW, "known defects: crack 0.30"),
        (PASS, [("crack", 0.8), ("pore", 0.9)], REJECT, "known defects: crack 0.80"),
        (
            PASS,
            [("pore", 0.6), ("crack", 0.4), ("pore", 0.9)],
            REVIEW,
            "known defects: 2 pore up to 0.90, crack 0.40",
        ),
        (PASS, [("stain", 1.0)], PASS, ""),
        (REVIEW, [("pore", 0.9)], REVIEW, ""),
        (REVIEW, [("crack", 0.9)], REJECT, "known defects: crack 0.90"),
        (REJECT, [("crack", 0.9)], REJECT, ""),
        (FAULT, [("crack", 0.9)], FAULT, ""),
    ],
)
def test_the_worse_of_score_and_names_holds(verdict, found, after, reason):
    """A type's own scores go before those of all; nothing makes a part better."""
    assert hold(verdict, found, HOLDS) == (after, reason)


def test_one_object_more_never_makes_a_part_better():
    """Whatever its type and score."""
    objects = [(name, score) for name in ("crack", "pore", "stain") for score in (0.2, 0.6, 0.9)]
    for verdict, one, other in product((PASS, REVIEW, REJECT), objects, objects):
        alone, both = hold(verdict, [one], HOLDS)[0], hold(verdict, [one, other], HOLDS)[0]
        assert severity(verdict) <= severity(alone) <= severity(both)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_without_an_answer_nothing_passes(verdict):
    """A PASS becomes REVIEW and says why; what is held stays what it is."""
    after, reason = hold_unseen(verdict, "came late")
    assert after is (REVIEW if verdict is PASS else verdict)
    assert ("came late" in reason) == (verdict is PASS)


def test_types_are_counted_over_frames():
    """The most first; a frame that was not looked at counts nothing."""

    def seen(**counts: int) -> Recognised:
        return Recognised(detector="d", detector_id="", status="done", latency_ms=1, counts=counts)

    frames = [seen(pore=1, crack=2), None, seen(pore=3)]
    assert list(count_types(frames).items()) == [("pore", 4), ("crack", 2)]
    assert words_of_types(frames) == "pore: 4, crack: 2"
    assert words_of_types([None]) == ""


def test_a_type_nobody_knows_is_refused_with_the_list():
    """What is known stands in the message."""
    words = unknown_types(["crack", "dent"], ("crack", "pore"), "accept rule 'x'", "cells")
    assert "accept rule 'x': names 'dent'" in words
    assert "wanted some of crack, pore" in words
    assert unknown_types(["crack"], ("crack",), "", "") == ""


def test_scores_are_in_order():
    """REVIEW begins no later than REJECT."""
    with pytest.raises(ValidationError, match="review_from must not lie above reject_from"):
        HoldFrom(review_from=0.9, reject_from=0.8)
