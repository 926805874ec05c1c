"""The Thresholds page: the band's two handles and numbers, consequences, apply, watch, revert."""

import json
from itertools import pairwise

import httpx
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from inspection.core.decision import Band, ThresholdLimits, Verdict
from inspection.dashboard.parts import band as bands
from inspection.hub.wire.line import StationRow
from inspection.hub.wire.message import Rate
from inspection.hub.wire.people import Role
from inspection.hub.wire.thresholds import (
    Change,
    Consequences,
    Expected,
    NewThresholds,
    Proposal,
    Scores,
    ThresholdRow,
)
from tests.dashboard import drawn
from tests.dashboard.fake import FakeHub, opened, refusal

LINE = "/v1/lines/line-1"


def scores(**more) -> Scores:
    random = np.random.default_rng(1)
    values = {
        "bundle_id": drawn.BUNDLE,
        "name": "plate",
        "certificate": drawn.CERTIFICATE,
        "normals": tuple(np.sort(random.gamma(9, 0.15, 200))),
        "goods": tuple(np.sort(random.gamma(10, 0.17, 60))),
        "defects": tuple(np.sort(random.gamma(20, 0.25, 30))),
        "recent": tuple(np.sort(random.gamma(9, 0.16, 500))),
        "in_force": drawn.BAND,
        "limits": ThresholdLimits(low=0.1, high=9, high_reject=20),
    }
    return Scores.model_validate(values | more)


def record(sha256: str, **more) -> ThresholdRow:
    values = {
        "sha256": sha256 * 64,
        "bundle_id": drawn.BUNDLE,
        "product": None,
        "camera": None,
        "band": Band(review_above=1.9, reject_above=3.9),
        "who": "anna",
        "approved_by": None,
        "when": drawn.AT,
        "why": "fewer escapes",
        "reverts": None,
        "in_force": True,
        "stations": ("station-1", "station-2"),
        "used_by": ("station-1",),
    }
    return ThresholdRow.model_validate(values | more)


def consequences(request: httpx.Request) -> Consequences:
    band = Band.model_validate(json.loads(request.content)["band"])
    changes = tuple(
        Change(row=drawn.row(number, Verdict.PASS, 1.9), would_be=Verdict.REVIEW)
        for number in range(14)
    )
    return Consequences(
        band=band,
        false_rejects=Expected(expected=12.3, low=6, high=20),
        review_load=Expected(expected=90, low=70, high=111),
        capacity=80,
        escapes=Rate(count=2, of=30, value=2 / 30, low=0.018, high=0.213),
        escapes_per_shift=Expected(expected=3.3, low=0.9, high=10.6),
        cost_per_1000=81.25,
        certificate="Of good parts at most 2 % are above it, in 95 of 100 such calibrations.",
        previewed=500,
        now={Verdict.PASS: 480, Verdict.REVIEW: 20},
        then={Verdict.PASS: 466, Verdict.REVIEW: 34},
        changes=changes,
        notes=("no reviewed part scored above 6",),
    )


class Line(FakeHub):
    """A hub with one bundle of two stations and its thresholds."""

    def __init__(self, *records: ThresholdRow, known: Scores | None = None) -> None:
        super().__init__()
        self.records = list(records)
        self.waiting: list[Proposal] = []
        station = {"line": "line-1", "enrolled_at": drawn.AT}
        station |= dict.fromkeys(("retired_at", "copied_at", "seen_at"))
        later = {"silent": False, "skew_s": 0, "skewed": False, "behind": 0, "status": None}
        self.answers |= {
            ("GET", "/v1/bundles"): (drawn.bundle(),),
            ("GET", "/v1/stations"): tuple(
                StationRow(station=f"station-{number}", tokens=(), **station, **later)
                for number in (1, 2)
            ),
            ("GET", f"{LINE}/scores"): known or scores(),
            ("POST", f"{LINE}/consequences"): consequences,
            ("GET", f"{LINE}/thresholds"): lambda _: tuple(self.records),
            ("GET", f"{LINE}/thresholds/proposals"): lambda _: tuple(self.waiting),
            ("POST", f"{LINE}/thresholds"): lambda _: self.keep(record("c", why="tighter")),
            ("POST", f"{LINE}/thresholds/revert"): lambda _: self.keep(record("d", reverts="a")),
        }
        for number in range(14):
            self.answers["GET", f"/v1/events/event-{number}/pictures/top.jpg"] = drawn.jpeg()

    def keep(self, row: ThresholdRow) -> ThresholdRow:
        """Add a record as the newest."""
        self.records.insert(0, row)
        return row


def text(test: AppTest) -> str:
    """All that is written on the page, as people read it."""
    kinds = (test.markdown, test.caption, test.info, test.warning, test.success, test.error)
    return "\n".join(one.value for kind in kinds for one in kind).replace("\\", "")


def handles(test: AppTest):
    """The one slider of the page."""
    (found,) = test.select_slider
    return found


def test_moving_a_handle_asks_what_would_follow_and_changes_nothing():
    """The consequences of the band the handles stand at are shown with their intervals."""
    hub = Line()
    test = opened("thresholds", hub).run()
    assert not test.exception
    low = float(handles(test).options[60])
    handles(test).set_range(low, 4.0).run()
    assert not test.exception
    asked = hub.calls("POST", f"{LINE}/consequences")[-1]
    assert asked["band"] == {"review_above": low, "reject_above": 4.0}
    assert [one.value for one in test.metric] == ["12.3", "3.3", "90.0", "81.25"]
    assert "more than the 80 people can look at" in text(test)
    assert "**PASS → REVIEW**" in text(test)
    assert hub.calls("POST", f"{LINE}/thresholds") == []


def test_a_typed_number_is_taken_exactly_and_pushes_the_other():
    """REVIEW typed above REJECT moves REJECT along; a band is never turned round."""
    hub = Line()
    test = opened("thresholds", hub).run()
    test.number_input(key=bands.LOW).set_value(4.4321).run()
    asked = hub.calls("POST", f"{LINE}/consequences")[-1]
    assert asked["band"] == {"review_above": 4.4321, "reject_above": 4.4321}
    assert handles(test).value == (4.4321, 4.4321)


def test_costs_and_the_number_of_parts_are_asked_with_the_band():
    """What is set beside the band goes to the hub with it."""
    hub = Line()
    test = opened("thresholds", hub).run()
    test.number_input(key="thresholds_cost_escape").set_value(7.0).run()
    test.number_input(key="thresholds_prevalence").set_value(2.0).run()
    test.number_input(key="thresholds_last").set_value(40).run()
    asked = hub.calls("POST", f"{LINE}/consequences")[-1]
    assert (asked["costs"]["escape"], asked["costs"]["prevalence"], asked["last"]) == (7, 0.02, 40)


def test_a_band_is_applied_with_a_reason_and_the_stations_are_watched():
    """Nothing is sent without a reason; then the page says who judges by it and who not yet."""
    hub = Line(record("a"))
    test = opened("thresholds", hub).run()
    test.button(key="thresholds_apply").click().run()
    assert "say why" in text(test)
    test.text_input(key="thresholds_comment").set_value("tighter")
    test.button(key="thresholds_apply").click().run()
    (sent,) = hub.calls("POST", f"{LINE}/thresholds")
    assert (sent["comment"], sent["previous"]) == ("tighter", "a" * 64)
    assert sent["stations"] == ["station-1", "station-2"]
    assert "1 of 2 stations judge by it; waiting for station-2" in text(test)
    assert test.text_input(key="thresholds_comment").value == ""
    hub.records[0] = record("c", used_by=("station-1", "station-2"))
    assert "All stations judge by it: station-1, station-2" in text(test.run())


def test_thresholds_that_were_changed_meanwhile_are_not_overwritten():
    """The hub's refusal is shown, the tried band stays, the history is read anew."""
    hub = Line()
    hub.answers["POST", f"{LINE}/thresholds"] = lambda _: (
        hub.keep(record("e", who="bob")) and refusal(409, "thresholds were set by bob meanwhile")
    )
    test = opened("thresholds", hub).run()
    test.number_input(key=bands.LOW).set_value(1.5).run()
    test.text_input(key="thresholds_comment").set_value("tighter")
    test.button(key="thresholds_apply").click().run()
    assert "**Not applied:** thresholds were set by bob meanwhile" in text(test)
    assert test.number_input(key=bands.LOW).value == 1.5
    del hub.answers["POST", f"{LINE}/thresholds"]
    test.text_input(key="thresholds_comment").set_value("tighter")
    test.button(key="thresholds_apply").click().run()
    assert hub.calls("POST", f"{LINE}/thresholds")[-1]["previous"] == "e" * 64


def test_a_record_in_force_is_taken_back_after_a_question():
    """Only what is in force can be taken back; a reason stands there and can be changed."""
    hub = Line(record("a"), record("b", in_force=False))
    test = opened("thresholds", hub).run()
    asked = [one.key for one in test.button if "revert_confirm" in str(one.key)]
    assert asked == ["thresholds_revert_confirm_0"]
    test.button(key="thresholds_revert_confirm_0").click().run()
    (sent,) = hub.calls("POST", f"{LINE}/thresholds/revert")
    assert sent == {"sha256": "a" * 64, "comment": "Takes back: fewer escapes"}


def test_a_reviewer_sees_the_consequences_and_cannot_apply():
    """Who may not apply sees why there is no button."""
    test = opened("thresholds", Line(record("a")), Role.REVIEWER).run()
    assert "Engineers apply thresholds" in text(test)
    keys = {str(one.key) for one in test.button}
    assert not keys & {"thresholds_apply", "thresholds_revert_confirm_0"}


def test_without_a_bundle_the_page_says_what_to_do():
    """An empty hub is no error."""
    hub = Line()
    hub.answers["GET", "/v1/bundles"] = ()
    assert "No bundle is on the hub yet" in text(opened("thresholds", hub).run())


def test_a_bundle_without_scores_still_has_its_band():
    """Before the first part there is nothing to draw, and the band can be set all the same."""
    known = scores(normals=(), goods=(), defects=(), recent=())
    test = opened("thresholds", Line(known=known)).run()
    assert not test.exception
    assert "No scores are known" in text(test)
    assert handles(test).value == (2.0, 4.0)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_handles_can_stand_exactly_at_both_bands_and_at_200_places_between(logarithmic):
    """A handle that is not moved keeps its value to the last digit."""
    band = Band(review_above=1.23456789, reject_above=1.23456789)
    found = bands.positions(scores(), [band], logarithmic=logarithmic)
    assert band.review_above in found
    assert len(found) >= bands.STEPS
    assert all(one < other for one, other in pairwise(found))
    assert found[0] <= min(scores().normals) * 1.001
    assert found[-1] >= max(scores().defects)


def test_scores_that_spread_far_are_offered_a_logarithmic_axis():
    """One far defect would squeeze all others into one bar."""
    assert not bands.spread_out(scores())
    assert bands.spread_out(scores(defects=(90.0,)))
    assert not bands.spread_out(scores(normals=(0.0,), defects=(90.0,)))


def proposal(who: str) -> Proposal:
    """Thresholds beyond the limits, proposed by somebody."""
    band = Band(review_above=30, reject_above=40)
    new = NewThresholds(
        bundle_id=drawn.BUNDLE, band=band, stations=("station-1",), comment="new material"
    )
    return Proposal(id=7, new=new, exceeded="review_above 30 is too high", who=who, at=drawn.AT)


def test_thresholds_beyond_the_limits_are_proposed_and_not_applied():
    """The page says that another person must approve, before the button is pressed."""
    hub = Line()
    hub.answers["POST", f"{LINE}/thresholds/proposals"] = lambda _: proposal("me")
    test = opened("thresholds", hub).run()
    test.number_input(key=bands.LOW).set_value(30.0).run()
    assert "Another person must approve these thresholds: review_above 30" in text(test)
    assert test.button(key="thresholds_apply").label == "Propose"
    test.text_input(key="thresholds_comment").set_value("new material")
    test.button(key="thresholds_apply").click().run()
    assert not test.exception
    (sent,) = hub.calls("POST", f"{LINE}/thresholds/proposals")
    assert sent["band"]["review_above"] == 30
    assert hub.calls("POST", f"{LINE}/thresholds") == []


def test_a_second_person_approves_or_declines_what_waits():
    """Who, what, why and which limit stand beside the buttons."""
    hub = Line()
    hub.waiting = [proposal("anna")]
    path = f"{LINE}/thresholds/proposals/7"
    hub.answers["POST", f"{path}/approve"] = lambda _: hub.keep(record("e", approved_by="me"))
    hub.answers["POST", f"{path}/decline"] = None
    test = opened("thresholds", hub).run()
    shown = text(test)
    for words in ("anna", "30 / 40", "new material", "review_above 30 is too high"):
        assert words in shown
    test.button(key="thresholds_approve_7").click().run()
    assert not test.exception
    assert len(hub.calls("POST", f"{path}/approve")) == 1
    assert "approved by me" in text(test)
    test.button(key="thresholds_decline_7").click().run()
    assert len(hub.calls("POST", f"{path}/decline")) == 1


def test_who_proposed_thresholds_cannot_approve_them_on_the_page():
    """The hub refuses it, too; the page does not offer it."""
    hub = Line()
    hub.waiting = [proposal("engineer-1")]
    test = opened("thresholds", hub).run()
    assert test.button(key="thresholds_approve_7").disabled
    assert test.button(key="thresholds_decline_7").label == "Withdraw"
