"""The Review page: queue, decisions by button, undo, conflicts, skipping, masks by clicks."""

import base64
import json
from hashlib import sha256

import httpx
import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from inspection.core.errors import HubError
from inspection.core.geometry import Roi
from inspection.dashboard.parts import named, viewer
from inspection.dashboard.parts.decisions import Desk
from inspection.dashboard.parts.outline import BACKGROUND, DEFECT, Clicks
from inspection.dashboard.views import review as page
from inspection.hub.wire.message import Rate
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import (
    Agreement,
    Conflict,
    Decision,
    Outlined,
    ReviewSummary,
    Why,
)
from tests.dashboard import drawn
from tests.dashboard.fake import FakeHub, answered, opened, refusal
from tests.dashboard.loops import forgotten

REVIEWS = "/v1/events/event-{}/reviews"
TYPES = "/v1/recognition/types"


def summary(**more) -> ReviewSummary:
    values = {
        "waiting": 3,
        "reviewed": 7,
        "decisions": {"good": 5, "defect": 2},
        "defects": {"scratch": 2, "unnamed": 1},
        "agreement": Agreement(pairs=0, agreed=0, kappa=None),
        "escapes": Rate(count=0, of=0, value=None, low=0, high=1),
        "sampled": 4,
    }
    return ReviewSummary.model_validate(values | more)


class Reviewing(FakeHub):
    """A hub with parts to review that keeps decisions by revision, as the real one does."""

    def __init__(self, parts: int, **items) -> None:
        super().__init__({("GET", "/v1/reviews/summary"): summary(), ("GET", TYPES): drawn.types()})
        self.waiting = [drawn.item(number, **items) for number in range(1, parts + 1)]
        self.reviews = {}
        self.answers["GET", "/v1/queue"] = lambda _: tuple(
            one for one in self.waiting if one.event_id not in self.reviews
        )
        for number in range(1, parts + 1):
            event = f"/v1/events/event-{number}"
            self.answers["GET", event] = drawn.detail(number)
            self.answers["GET", f"{event}/pictures/top.jpg"] = drawn.jpeg()
            self.answers["GET", f"{event}/look"] = drawn.look()
            self.answers["POST", f"{event}/reviews"] = self.decide

    def decide(self, request: httpx.Request):
        """Keep a decision on the revision it was made on; else say what stands."""
        number = int(request.url.path.split("/")[3].removeprefix("event-"))
        said = json.loads(request.content)
        standing = self.reviews.get(f"event-{number}")
        if said["revision"] != (standing.revision if standing else 0):
            answer = Conflict(error="somebody decided meanwhile", current=standing)
            return httpx.Response(409, content=answer.model_dump_json())
        kept = drawn.review(number, **(said | {"revision": said["revision"] + 1}), reviewer="me")
        self.reviews[f"event-{number}"] = kept
        return kept


def text64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def press(test: AppTest, name: str) -> AppTest:
    """Press the button whose key begins so; a key ends with the part it is for."""
    return next(one for one in test.button if str(one.key).startswith(name)).click().run()


def text(test: AppTest) -> str:
    """All that is written on the page, as people read it."""
    kinds = (test.markdown, test.caption, test.info, test.warning, test.success, test.error)
    return "\n".join(one.value for kind in kinds for one in kind).replace("\\", "")


def test_parts_are_decided_one_after_the_other_and_the_last_is_taken_back():
    """A decision brings the next part; undo brings the last one back, to be decided again."""
    hub = Reviewing(2)
    test = opened("review", hub, Role.REVIEWER).run()
    assert not test.exception
    assert "Part part-1" in text(test)
    press(test, "review_good-")
    assert "Part part-2" in text(test)
    press(test, "review_type_1-")
    assert hub.calls("POST", REVIEWS.format(2))[0]["defect"] == "scratch"
    assert "Nothing waits" in text(test)
    press(test, "review_undo-")
    assert "Part part-2" in text(test)
    press(test, "review_unsure-")
    assert [one.decision for one in hub.reviews.values()] == [Decision.GOOD, Decision.UNSURE]
    assert hub.reviews["event-2"].revision == 3
    assert not test.exception


def test_a_key_that_reaches_buttons_of_the_part_before_does_nothing():
    """While the page changes both parts' buttons listen; only the part that is shown is decided."""
    hub = Reviewing(3)
    client, desk = hub.client(), Desk("line-1")
    desk.fill(client)
    first, second, third = desk.waiting
    desk.decide(client, first, Decision.GOOD, None, "")
    desk.decide(client, first, Decision.DEFECT, "scratch", "")
    desk.skip(first)
    assert (desk.waiting, desk.clash, desk.skipped) == ([second, third], None, set())
    mine = desk.done[-1][1]
    desk.decide(client, second, Decision.GOOD, None, "")
    desk.undo(client, mine)
    assert [one.decision for one in hub.reviews.values()] == [Decision.GOOD, Decision.GOOD]


@pytest.mark.parametrize(("button", "stands"), [("review_keep", "anna"), ("review_on_top", "me")])
def test_a_decision_that_came_second_is_shown_and_the_person_chooses(button, stands):
    """Somebody else decided first: both decisions are shown, and either can stand."""
    hub = Reviewing(2)
    test = opened("review", hub, Role.REVIEWER).run()
    hub.reviews["event-1"] = drawn.review(1, Decision.DEFECT, defect="dent", comment="deep")
    press(test, "review_good-")
    assert "**anna** decided '**defect: dent**' (deep)" in text(test)
    assert "You said '**good**'" in text(test)
    assert hub.reviews["event-1"].reviewer == "anna"
    press(test, button)
    assert hub.reviews["event-1"].reviewer == stands
    assert "Part part-2" in text(test)


def test_undo_leaves_what_somebody_decided_on_top():
    """A decision that is no longer in force cannot be taken back; the page says whose is."""
    hub = Reviewing(2)
    test = opened("review", hub, Role.REVIEWER).run()
    press(test, "review_good-")
    hub.reviews["event-1"] = drawn.review(1, Decision.DEFECT, revision=2)
    press(test, "review_undo-")
    assert "anna has decided 'defect' on it since" in text(test)
    assert hub.reviews["event-1"].reviewer == "anna"


def test_skipped_parts_come_again_only_when_asked_for():
    """Next leaves a part undecided; it is not lost."""
    hub = Reviewing(1)
    test = opened("review", hub, Role.REVIEWER).run()
    press(test, "review_next-")
    assert "you skipped 1 part." in text(test)
    press(test, "review_again_skipped")
    assert "Part part-1" in text(test)


def test_a_viewer_is_told_who_decides_and_asks_for_no_queue():
    """The hub gives its queue to reviewers only; a refusal is no way to say so."""
    hub = Reviewing(1)
    test = opened("review", hub, Role.VIEWER).run()
    assert "Your role is viewer" in text(test)
    assert [one.url.path for one in hub.asked] == ["/v1/reviews/summary"]


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_part_that_is_not_to_be_decided_any_more_leaves_the_list(status):
    """Another press would be refused, too: the page says why and goes on."""
    hub = Reviewing(2, second=True, why=Why.SECOND)
    hub.answers["POST", REVIEWS.format(1)] = refusal(status, "anna made the second review")
    test = opened("review", hub, Role.REVIEWER).run()
    press(test, "review_good-")
    assert "Part part-1 is not yours to decide any more: anna made" in text(test)
    assert "**Part part-2**" in text(test)


def test_a_second_review_that_came_too_late_offers_only_to_go_on():
    """Nobody may decide on top of another one's blind second review, nor sees what it says."""
    hub = Reviewing(2, second=True, why=Why.SECOND)
    test = opened("review", hub, Role.REVIEWER).run()
    hub.reviews["event-1"] = drawn.review(1, Decision.DEFECT, defect="dent", second=True)
    press(test, "review_good-")
    assert "**anna** made the second review" in text(test)
    assert "dent" not in text(test)
    assert not [one for one in test.button if one.key == "review_on_top"]
    press(test, "review_keep")
    assert "Part part-2" in text(test)


def test_a_blind_second_review_shows_no_earlier_decision():
    """The second pair of eyes is told nothing of the first; others see the log."""
    first = drawn.review(1, Decision.DEFECT, defect="dent")
    for second, seen in ((False, True), (True, False)):
        hub = Reviewing(1, second=second, why=Why.SECOND if second else Why.DISAGREEING)
        hub.answers["GET", "/v1/events/event-1"] = drawn.detail(1, reviews=(first,))
        test = opened("review", hub, Role.REVIEWER).run()
        assert ("anna" in text(test)) is seen


def test_a_part_without_picture_or_look_can_still_be_decided():
    """What cannot be shown is said, and the buttons are there."""
    hub = Reviewing(2)
    hub.answers["GET", "/v1/events/event-1"] = drawn.detail(1, picture=False)
    hub.answers["GET", "/v1/events/event-2/look"] = refusal(404, "bundle not on this hub")
    test = opened("review", hub, Role.REVIEWER).run()
    assert "its picture is not on the hub" in text(test)
    press(test, "review_good-")
    assert "bundle not on this hub" in text(test)
    press(test, "review_good-")
    assert len(hub.reviews) == 2


def test_a_type_that_cannot_be_a_name_is_refused_with_the_remedy():
    """The name goes into folders of the export, so its letters are limited."""
    desk = Desk("line-1", [drawn.item(1)])
    with pytest.raises(HubError, match=r"defect type 'a/b' cannot be one; use letters"):
        desk.decide(FakeHub().client(), drawn.item(1), Decision.DEFECT, "a/b", "")


def test_clicks_are_in_pixels_of_the_stored_picture_and_taken_once():
    """The browser tells px of the shown image, and tells the last click again with each run."""
    hub = FakeHub(
        {
            ("POST", "/v1/events/event-1/outline"): Outlined(
                mask=drawn.grey((1, 1, 9, 9)), area_px=81, segmenter="sam"
            )
        }
    )
    clicks, client = Clicks(("event-1", "top")), hub.client()
    first = {"x": 100, "y": 50, "width": 320, "height": 240, "unix_time": 1}
    assert clicks.take(client, first, (640, 480), DEFECT)
    assert not clicks.take(client, first, (640, 480), DEFECT)
    assert clicks.take(client, first | {"x": 10, "unix_time": 2}, (640, 480), BACKGROUND)
    asked = hub.calls("POST", "/v1/events/event-1/outline")[-1]
    assert (asked["positive"], asked["negative"]) == ([[200.0, 100.0]], [[20.0, 100.0]])
    clicks.take_back(client)
    clicks.take_back(client)
    assert (clicks.points, clicks.answer) == ([], None)


def test_the_outline_surrounds_the_mask_and_hides_none_of_it():
    """A line of two px just outside of the mask, clear elsewhere."""
    mask = drawn.grey((20, 20, 29, 29), size_wh=(60, 50))
    image = viewer.opened(text64(viewer.outlined(mask, (1, 2, 3)))).convert("RGBA")
    alphas = [image.getpixel((x, 25))[3] for x in range(14, 24)]
    assert alphas == [0, 0, 0, 0, 255, 255, 0, 0, 0, 0]
    assert image.getpixel((18, 25)) == (1, 2, 3, 255)


def test_heat_is_clear_where_there_is_none():
    """The part stays visible beside the heat, though a map is nowhere quite 0."""
    noise = np.random.default_rng(1).integers(20, 80, (60, 50)).astype(np.uint8)
    noise[5:10, 5:10] = 255
    spot = drawn.grey((5, 5, 9, 9), size_wh=(50, 60))
    content = viewer.coloured(drawn.base64_png(Image.fromarray(noise)), spot)
    heat = np.asarray(viewer.opened(text64(content)).convert("RGBA"))
    alphas = heat[:, :, 3]
    assert heat[7, 7].tolist() == [252, 253, 191, 255]
    assert (alphas[noise <= 40] == 0).all()
    assert np.median(alphas) <= 2
    assert alphas[noise < 80].max() < 40


def test_heat_of_a_part_that_is_defective_all_over_is_seen():
    """What is typical is taken from where the map lies below the band."""
    all_of_it = drawn.grey((0, 0, *drawn.SIZE_WH), 255)
    heat = viewer.opened(text64(viewer.coloured(all_of_it, all_of_it))).convert("RGBA")
    assert heat.getpixel((7, 7))[3] == 255


@pytest.mark.parametrize(
    ("pairs", "agreed", "kappa", "words"),
    [
        (0, 0, None, "No part was looked at by two people"),
        (1, 1, None, "too few"),
        (10, 9, 0.78, "9 of 10** parts; beyond chance 0.78 (kappa), substantial"),
        (10, 3, -0.2, "no better than chance"),
        (10, 10, 1.0, "almost perfect"),
    ],
)
def test_agreement_is_said_in_words(pairs, agreed, kappa, words):
    """Landis and Koch's words for kappa."""
    said = page.agreement(summary(agreement=Agreement(pairs=pairs, agreed=agreed, kappa=kappa)))
    assert words in said


def test_escapes_are_said_with_their_interval():
    """One of forty: the share and how far it can be off."""
    rate = Rate(count=1, of=40, value=0.025, low=0.004, high=0.129)
    assert "**2.50%** of passed parts (0.40% to 12.9%)" in page.escapes(summary(escapes=rate))


def test_an_engineer_forgets_the_picture_on_the_desk():
    """It is named by the hash of its stored bytes; a reviewer is not offered it."""
    hub = Reviewing(1)
    hub.answers["POST", "/v1/forgotten"] = forgotten()
    test = press(opened("review", hub, Role.ENGINEER).run(), "forget-event-1")
    answered(test, "forget-event-1-top.jpg", "forget-confirm", forget_why="a hand is in it")
    sent = {"sha256": sha256(drawn.jpeg()).hexdigest(), "comment": "a hand is in it"}
    assert hub.calls("POST", "/v1/forgotten") == [sent]
    seen = opened("review", hub, Role.REVIEWER).run().button
    assert not [one for one in seen if str(one.key).startswith("forget")]


def test_every_reason_to_review_is_explained():
    """A new one needs a sentence here."""
    assert set(page.REASONS) == set(Why)


def test_what_a_second_stage_named_is_said_and_drawn():
    """Types and scores in words, masks and labels over the picture, and a button for each type."""
    hub = Reviewing(1)
    hub.answers["GET", "/v1/events/event-1"] = drawn.named(1, ("crack", 0.91), ("pore", 0.64))
    test = opened("review", hub, Role.REVIEWER).run()
    assert "Known defects: **crack** 0.91, **pore** 0.64 (by cells)" in text(test)
    (layers,) = (one.proto.body for one in test.get("html") if 'class="layers"' in one.proto.body)
    assert "crack 0.91</span>" in layers
    assert 'class="known"' in layers
    assert [str(one.key) for one in test.toggle if "named" in str(one.key)] == ["review_named"]
    press(test, "review_type_2-")
    assert hub.calls("POST", REVIEWS.format(1))[0]["defect"] == "crack"
    assert not test.exception


def test_why_nothing_was_named_is_said():
    """A second stage that came late says so; nothing is drawn, and nothing can be hidden."""
    hub = Reviewing(1)
    hub.answers["GET", "/v1/events/event-1"] = drawn.named(1, status="late")
    test = opened("review", hub, Role.REVIEWER).run()
    assert "the second stage came late (cells): no answer" in text(test)
    assert [one for one in test.toggle if "named" in str(one.key)] == []


def test_a_frame_that_was_skipped_says_so():
    """It was as usual as most normals: nothing failed."""
    hub = Reviewing(1)
    hub.answers["GET", "/v1/events/event-1"] = drawn.named(1, status="skipped")
    said = text(opened("review", hub, Role.REVIEWER).run())
    assert "Known defects: not looked for, as usual as most normals (by cells)" in said
    assert "failed" not in said


def test_the_queue_is_narrowed_to_a_type():
    """The hub is asked for it, the part that was shown goes, and all come back."""
    hub = Reviewing(2)
    hub.answers["GET", TYPES] = drawn.types(crack=3, pore=1)
    every = hub.answers["GET", "/v1/queue"]
    hub.answers["GET", "/v1/queue"] = lambda request: (
        every(request)[1:] if "type" in request.url.params else every(request)
    )
    test = opened("review", hub, Role.REVIEWER).run()
    assert "Part part-1" in text(test)
    (box,) = (one for one in test.selectbox if one.key == "review_only_type")
    assert box.options == ["all types", "crack", "pore"]
    box.select("crack").run()
    assert "Part part-2" in text(test)
    assert "Part part-1" not in text(test)
    (asked,) = {r.url.params["type"] for r in hub.asked if "type" in r.url.params}
    assert asked == "crack"
    press(test, "review_good-")
    assert "Nothing with crack waits" in text(test)


def test_objects_lie_where_they_were_cut_out():
    """An event has places on what the recipe cuts out; the picture is the whole frame, smaller."""
    shown = drawn.named(1, ("crack", 0.9), roi=Roi(left=0.5, top=0.25))
    frame = shown.event.frames[0]
    found = frame.recognised.found[0]
    assert found.box == (0, 0, 40, 20)
    assert named._place(found, frame, (240, 320), (160, 120)) == (80, 30, 100, 40)
