"""Parts of several frames at the hub: every frame can be seen, drawn on and decided again."""

from hashlib import sha256

import numpy as np
import pytest

from inspection.core.decision import Verdict
from inspection.core.fusion import PartFusion
from inspection.dashboard.parts.decisions import fetch
from inspection.hub.deciding import JudgedPart, decide_again, stored_scores
from inspection.hub.events import parse_event
from inspection.hub.outlines import find_frame
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.refusals import NotThere
from inspection.hub.wire.people import Role
from tests.hub.bundles import encode
from tests.hub.parts import BAND, SENDER, part, store


def turned(number: int, *scores: float):
    """Make the event of a part on a turntable, its frames in order."""
    one = part(number, scores[0])
    frames = tuple(
        one.frames[0].model_copy(
            update={
                "frame": place,
                "score": score,
                "verdict": Verdict.REJECT if score > 2 else Verdict.PASS,
                "image": f"{number}-top-f{place}.png",
            }
        )
        for place, score in enumerate(scores, 1)
    )
    fusion = PartFusion(kind="views", frames=len(scores), wanted=len(scores))
    worst = Verdict.REJECT if max(scores) > 2 else Verdict.PASS
    return one.model_copy(update={"frames": frames, "fusion": fusion, "verdict": worst})


def picture(grey: int) -> bytes:
    return encode(np.full((32, 64, 3), grey, np.uint8))


def test_every_frame_is_reached_by_its_name_and_the_worst_is_shown_first(sqlite_plant):
    hub = sqlite_plant.hub
    store(hub, turned(1, 0.5, 5.0, 0.7))
    for place in (1, 2, 3):
        content = picture(50 * place)
        sent = SentPicture("part-1", f"1-top-f{place}.png", content, sha256(content).hexdigest())
        keep_picture(hub, SENDER, sent)
    found = [find_frame(hub, "part-1", f"top-f{place}") for place in (1, 2, 3)]
    assert [one.record.score for one in found] == [0.5, 5.0, 0.7]
    with pytest.raises(NotThere, match="only top-f1, top-f2, top-f3"):
        find_frame(hub, "part-1", "top")
    viewer = sqlite_plant.person(Role.VIEWER)
    assert fetch(viewer, "part-1").frame.frame == 2
    assert fetch(viewer, "part-1", "top-f3").frame.frame == 3
    assert fetch(viewer, "part-1").cameras == ("top-f1", "top-f2", "top-f3")
    [row] = viewer.events(part_id="serial 1", limit=10).items
    assert (row.score, row.picture, row.verdict) == (5.0, "1-top-f2.png", Verdict.REJECT)


def test_part_is_decided_again_by_each_of_its_frames():
    found = JudgedPart.model_validate_json(
        turned(1, 0.5, 5.0, 0.7).model_dump_json(), extra="ignore"
    )
    scores = stored_scores(found.frames)
    assert list(scores.values()) == [0.5, 5.0, 0.7]
    milder = BAND.model_copy(update={"review_above": 6.0, "reject_above": 7.0})
    assert decide_again(found, milder, scores, "b" * 64).verdict is Verdict.PASS
    assert decide_again(found, BAND, scores, "b" * 64).verdict is Verdict.REJECT


def test_part_that_lacked_frames_stays_review_under_any_band():
    event = turned(1, 0.5, 0.6).model_copy(update={"verdict": Verdict.REVIEW})
    found = JudgedPart.model_validate_json(event.model_dump_json(), extra="ignore")
    milder = BAND.model_copy(update={"review_above": 6.0, "reject_above": 7.0})
    again = decide_again(found, milder, stored_scores(found.frames), "b" * 64)
    assert again.verdict is Verdict.REVIEW
    assert parse_event(event.model_dump_json()) == event
