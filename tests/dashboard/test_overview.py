import pytest

from inspection.core.decision import Verdict
from inspection.dashboard.parts import charts
from inspection.dashboard.views.overview import span
from inspection.hub.wire.line import Drift, Need, Overview
from inspection.hub.wire.retraining import Cause
from tests.dashboard.drawn import AT, BUNDLE
from tests.dashboard.fake import FakeHub, opened
from tests.dashboard.plants import overview

PATH = "/v1/overview"


def shown(answer: Overview):
    hub = FakeHub({("GET", PATH): answer})
    test = opened("overview", hub).run()
    assert not test.exception
    return hub, test


def text(test) -> str:
    shown = [*test.markdown, *test.info, *test.warning, *test.caption]
    return "\n".join(element.value for element in shown)


def test_a_plant_without_stations_says_how_to_enrol_one():
    """The empty state names the command."""
    _, test = shown(Overview(at=AT, span_h=24, lines=(), needs=()))
    assert "inspection hub station enrol STATION --line LINE" in text(test)


def test_rates_stand_with_their_intervals_and_drift_is_lit():
    """One request gives numbers, intervals, lamp and bundle."""
    hub, test = shown(overview())
    cells = {cell.label: (cell.value, cell.delta) for cell in test.metric}
    assert cells["Reject rate"] == ("1.00%", "0.20% to 5.40%")
    assert cells["Fault rate"] == ("–", "no parts yet")
    assert cells["Latency, mean"] == ("71 ms", "most 93 ms of 1000 ms")
    assert "drifts up" in text(test)
    active = test.dataframe[0].value.iloc[0]
    assert (active["reject above"], active["drift"]) == (4.0, "DRIFT score +2.5 σ")
    assert len(hub.asked) == 1


def test_several_alarms_of_one_bundle_are_all_named():
    """Each with its cause, and a way to the page that explains them."""
    lit = [
        Drift(bundle_id=BUNDLE, lit=True, cause=cause, shift=-1.5, note="*darker*")
        for cause in (Cause.LIGHT, Cause.FOCUS)
    ]
    _, test = shown(overview(drift=lit))
    assert test.dataframe[0].value.iloc[0]["drift"] == "DRIFT light -1.5 σ, focus -1.5 σ"
    assert test.warning[0].value.count(r"\*darker\*") == 2
    assert "See its monitors" in text(test)


@pytest.mark.parametrize(("looked", "said"), [(True, "ok"), (False, "not known yet")])
def test_a_station_beside_one_that_drifts_is_well_only_where_the_hub_looks(looked, said):
    lit = Drift(bundle_id=BUNDLE, lit=True, cause=Cause.LIGHT, shift=-1.5, note="", station="other")
    dark = Drift(bundle_id=BUNDLE, lit=False, cause=None, shift=None, note="")
    _, test = shown(overview(drift=[lit, dark] if looked else [lit]))
    assert test.dataframe[0].value.iloc[0]["drift"] == said


def test_the_most_urgent_needs_stand_on_top():
    """What needs a person now is said first; Markdown in it is not obeyed."""
    needs = [
        Need(line="line-1", station=None, urgency=1, what=f"need *{n}*", page="stations")
        for n in range(5)
    ]
    _, test = shown(overview(*needs))
    assert test.markdown[0].value == r":red-badge[now] **line-1** need \*0\*"
    assert test.expander[0].label == "2 more"


def test_nothing_to_do_is_said():
    """An empty list is an answer, too."""
    _, test = shown(overview())
    assert "No line needs a person now" in text(test)


def test_another_time_is_asked_of_the_hub():
    """Seven days are 168 hours."""
    hub, test = shown(overview())
    test.segmented_control(key="overview-span").set_value("7 days").run()
    assert hub.asked[-1].url.params["hours"] == "168"


def test_a_line_with_one_hour_of_parts_is_drawn_in_the_whole_time():
    """One bar among the hours of the chosen time, not a block as wide as the page."""
    chart = charts.verdict_bars([(AT, "station-1", Verdict.PASS, 9)], span(overview())).to_dict()
    begin, end = chart["encoding"]["x"]["scale"]["domain"]
    assert (begin["date"], begin["hours"], begin["utc"]) == (3, 6, True)
    assert (end["date"], end["hours"]) == (4, 6)


def test_a_line_without_parts_says_what_to_start():
    """No empty plot."""
    _, test = shown(overview(parts=0, hours=(), rates={}))
    assert "inspection station run" in text(test)
