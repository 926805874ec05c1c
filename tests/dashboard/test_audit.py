from datetime import datetime

from inspection.core.decision import Band, Verdict
from inspection.hub.wire.message import Page
from inspection.hub.wire.people import AuditCheck, AuditEntry
from inspection.hub.wire.thresholds import Change, Replayed
from tests.dashboard.drawn import BAND, BUNDLE, bundle, jpeg, row
from tests.dashboard.fake import FakeHub, opened
from tests.dashboard.plants import entry

LOG, VERIFY, REPLAY = "/v1/audit", "/v1/audit/verify", "/v1/replay"


def shown(*entries: AuditEntry):
    answers = {
        ("GET", LOG): Page[AuditEntry](items=entries, next=None),
        ("GET", "/v1/bundles"): (bundle(),),
    }
    hub = FakeHub(answers)
    test = opened("audit", hub).run()
    assert not test.exception
    return hub, test


def text(test) -> str:
    shown = [*test.markdown, *test.info, *test.success, *test.error, *test.caption]
    return "\n".join(element.value for element in shown)


def asked_what_if(answer: Replayed):
    hub, test = shown()
    hub.answers["POST", REPLAY] = answer
    test.segmented_control(key="audit-section").set_value("What if").run()
    test.button(key="replay-send").click().run()
    assert not test.exception
    return hub, test


def replayed(*changes: Change, parts: int = 10) -> Replayed:
    return Replayed(
        parts=parts,
        without=2,
        band=Band(review_above=1.0, reject_above=3.0),
        now={Verdict.PASS: 10},
        then={Verdict.PASS: 9, Verdict.REVIEW: 1},
        reviewed_then={"defect": {Verdict.REVIEW: 1}},
        changes=changes,
        notes=("guards were not asked anew",),
    )


def test_the_log_is_filtered_by_words():
    """All words must stand somewhere in an entry; hashes are said short."""
    entries = (entry(2, "bundle choose", "line-1", bundle="a" * 64), entry(1, "session begin", "x"))
    _, test = shown(*entries)
    assert test.dataframe[0].value["entry"].tolist() == [2, 1]
    assert test.dataframe[0].value["detail"].tolist() == [f"bundle: {'a' * 12}", ""]
    test.text_input(key="audit-filter").input("BUNDLE line-1").run()
    assert test.dataframe[0].value["entry"].tolist() == [2]


def test_a_sound_chain_shows_its_head():
    """The head is what somebody writes down elsewhere."""
    hub, test = shown(entry(1, "session begin", "x"))
    hub.answers["GET", VERIFY] = AuditCheck(entries=1, sound=True, head="f" * 64, problem="")
    test.button(key="verify").click().run()
    assert "f" * 64 in test.success[0].value


def test_a_broken_chain_is_an_error():
    """The first entry that does not fit is named."""
    hub, test = shown(entry(1, "session begin", "x"))
    check = AuditCheck(entries=1, sound=False, head="f" * 64, problem="entry 1 was changed")
    hub.answers["GET", VERIFY] = check
    test.button(key="verify").click().run()
    assert "entry 1 was changed" in test.error[0].value


def test_an_empty_log_says_so():
    """No empty table."""
    _, test = shown()
    assert "Nobody changed anything yet" in text(test)


def test_a_day_is_decided_again_under_another_band():
    """From midnight to midnight; what changes is shown with its pictures on demand."""
    change = Change(row=row(1, Verdict.PASS, 1.5), would_be=Verdict.REVIEW)
    hub, test = asked_what_if(replayed(change))
    [sent] = hub.calls("POST", REPLAY)
    begin, end = (datetime.fromisoformat(sent[name]) for name in ("begin", "end"))
    assert (end - begin).total_seconds() == 24 * 3600
    assert sent["band"] == BAND.model_dump()
    assert (sent["bundle_id"], sent["other_bundle_id"]) == (BUNDLE, None)
    counts, changes = (frame.value for frame in test.dataframe)
    assert counts["REVIEW"].tolist() == [0, 1, 1]
    assert changes["would be"].tolist() == ["REVIEW"]
    picture = f"/v1/events/{change.row.event_id}/pictures/{change.row.picture}"
    hub.answers["GET", picture] = jpeg()
    test.toggle(key="replay-pictures").set_value(True).run()
    assert hub.asked[-1].url.params["side_px"] == "160"


def test_a_band_the_wrong_way_round_cannot_be_sent():
    """It says so where the button was."""
    _, test = shown()
    test.segmented_control(key="audit-section").set_value("What if").run()
    test.number_input(key=f"replay-review-{BUNDLE[:12]}").set_value(99.0).run()
    assert "wanted the other way round" in test.error[0].value
    assert "replay-send" not in {button.key for button in test.button}


def test_a_day_without_parts_says_so():
    """Instead of a table of zeros."""
    _, test = asked_what_if(replayed(parts=0))
    assert "No part of this bundle was judged on that day" in text(test)
