"""What a frame looks like stands in its event, and in the metrics of those that passed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.bundle import open_bundle
from inspection.core.decision import Judgement, Verdict
from inspection.core.geometry import Roi
from inspection.core.image_statistics import (
    ImageStatistics,
    Reference,
    StatisticsReference,
    measure_image,
)
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.look import Look, fault
from inspection.station.part import Fault, Part
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.recipes.current import Current
from inspection.station.web.metrics import PASSED, Metrics
from tests.fakes import TableJudges, TableScorer
from tests.station.bundles import make_bundle
from tests.station.events import event
from tests.station.outputs.status import status
from tests.station.rig import WALL, Rig, configure, part, pixels, recorded
from tests.station.web.test_metrics import read

pytestmark = pytest.mark.fast


class Embedding(TableScorer):
    """Says an embedding with every judgement, as a bundle with a second output does."""

    def judge(self, tiles: Rgb, part_hw: tuple[int, int]) -> Judgement:
        """Add two directions."""
        judgement = super().judge(tiles, part_hw)
        return Judgement(**{**vars(judgement), "embedding": (0.5, -1.25)})


def test_every_judged_frame_is_measured(tmp_path: Path):
    """PASS, REVIEW and REJECT alike, as the model saw them; FAULT is of nothing."""
    rig = Rig(configure(tmp_path), TableJudges(default={"main": Embedding()}))
    seen = {"a": 40, "b": 150, "c": 255, "d": Fault("torn")}
    rig.run([at(second, part(name, red)) for second, (name, red) in enumerate(seen.items())])
    *judged, faulty = (one.frames[0] for one in recorded(rig.config))
    assert [frame.verdict for frame in judged] == ["PASS", "REVIEW", "REJECT"]
    for frame, red in zip(judged, (40, 150, 255), strict=True):
        wanted = measure_image(pixels(red)[None])
        assert frame.statistics == wanted.model_copy(update={"embedding": (0.5, -1.25)})
    assert (faulty.verdict, faulty.statistics) == ("FAULT", None)


def test_an_event_says_what_was_cut_out_of_the_frame(tmp_path: Path):
    """Whoever learns from it must cut the same; of a whole frame, and an older event, none."""
    cropping = TableScorer()
    cropping.roi = Roi(left=0.5)
    rig = Rig(configure(tmp_path), TableJudges(default={"main": cropping}))
    rig.run([part("a", 40)])
    assert [one.frames[0].roi for one in recorded(rig.config)] == [Roi(left=0.5)]
    assert fault("torn").roi is None
    assert Look(Verdict.PASS, judge=TableScorer()).roi is None
    older = event(1).model_dump(mode="json")
    for frame in older["frames"]:
        del frame["roi"]
    assert Event.model_validate(older).frames[0].roi is None


def at(second: float, one: Part) -> Part:
    """Let a part be captured so long after the first."""
    return replace(one, captured_at=WALL + timedelta(seconds=second))


def test_of_each_camera_one_frame_a_second_is_measured(tmp_path: Path):
    """The first of each whole second by its capture, whatever the clock does; all are judged."""
    rig = Rig(configure(tmp_path), TableJudges(default={"main": Embedding(), "side": Embedding()}))
    times = (0, 0.3, 0.9, 1.0, 1.9, 5.2, 3.1, 3.2)
    parts = [at(second, part(str(number), 40 + number)) for number, second in enumerate(times)]
    both = [
        replace(one, frames=(*one.frames, replace(one.frames[0], camera="side"))) for one in parts
    ]
    rig.run(both)
    events = recorded(rig.config)
    assert all(frame.score is not None for one in events for frame in one.frames)
    for camera in (0, 1):
        measured = [one.frames[camera].statistics is not None for one in events]
        assert measured == [True, False, False, True, False, True, True, False]


def test_of_products_that_alternate_each_is_measured(tmp_path: Path):
    """At two parts a second the same one would be the first of each."""
    judges = TableJudges(**{name: {"main": Embedding()} for name in ("lid", "cup")})
    rig = Rig(configure(tmp_path), judges)
    for number in range(4):
        product = ("lid", "cup")[number % 2]
        rig.intake._parts.append(at(number / 2, part(str(number), 40 + number, product=product)))
    rig.run()
    assert all(one.frames[0].statistics is not None for one in recorded(rig.config))


def test_a_score_that_is_no_number_measures_nothing(tmp_path: Path):
    """What ends as FAULT after it was judged has no statistics either."""
    rig = Rig(configure(tmp_path), TableJudges(default={"main": TableScorer({7: np.nan})}))
    rig.run([part("a", 7)])
    [frame] = recorded(rig.config)[0].frames
    assert (frame.verdict, frame.statistics) == ("FAULT", None)


def test_an_older_event_has_no_statistics():
    """A record that was written before there were any is read as it is."""
    older = event(1).model_dump(mode="json")
    for frame in older["frames"]:
        del frame["statistics"]
    assert Event.model_validate(older).frames[0].statistics is None


def seen(
    number: int,
    light: float,
    verdict: Verdict = Verdict.PASS,
    embedding: tuple[float, ...] | None = None,
    **changes: object,
) -> Event:
    """Make the event of a part whose frame has this light."""
    one = event(number, verdict)
    measured = ImageStatistics(
        light=light, focus=-2.0, across=0.5, down=0.25, texture=-1.0, embedding=embedding
    )
    frame = one.frames[0].model_copy(update={"statistics": measured, **changes})
    return one.model_copy(update={"frames": (frame,)})


def running(reference: StatisticsReference | None, scores: Reference | None = None):
    """Make a station's status with one bundle."""
    bundle = {
        **{"product": "default", "camera": "main", "name": "plates", "bundle_id": "bundle"},
        **{"review_above": 0.5, "reject_above": 0.8, "since": "2025-03-01T06:30:00Z"},
        **{"trial": False, "note": "", "statistics": reference},
        "scores": scores,
    }
    return status(bundles=(bundle,))


REFERENCE = StatisticsReference(
    normals=50,
    light=Reference(mean=100, deviation=4),
    focus=Reference(mean=-2, deviation=0.1),
    across=Reference(mean=0.5, deviation=0),
    down=Reference(mean=0.2, deviation=0.01),
    texture=Reference(mean=-1, deviation=0.1),
)


def test_metrics_are_the_mean_of_the_last_parts_that_passed():
    """An older part, and one that did not pass, count no more."""
    metrics = Metrics(lambda: running(REFERENCE), lambda: 0, 1_000)
    metrics.observe(seen(1, 250))
    for number in range(PASSED):
        metrics.observe(seen(number + 2, 108 + number % 2))
        metrics.observe(seen(1000 + number, 0, Verdict.REVIEW))
    found = read(metrics)
    assert found["inspection_image", "main", "default", "light"] == 108.5
    assert found["inspection_image", "main", "default", "down"] == 0.25
    shift = {name[3]: value for name, value in found.items() if name[0] == "inspection_image_shift"}
    assert shift == pytest.approx({"light": 2.125, "focus": 0, "down": 5, "texture": 0})


@pytest.mark.parametrize("reference", [None, REFERENCE], ids=["older bundle", "before any part"])
def test_metrics_without_a_reference_or_a_part_say_nothing_of_it(reference):
    """No shift is not a shift of 0."""
    metrics = Metrics(lambda: running(reference), lambda: 0, 1_000)
    if reference is None:
        metrics.observe(seen(1, 90))
    found = read(metrics)
    assert not any(name[0] == "inspection_image_shift" for name in found)
    assert (("inspection_image", "main", "default", "light") in found) is (reference is None)


def shifts(metrics: Metrics) -> dict[str, float]:
    found = read(metrics)
    return {name[3]: value for name, value in found.items() if name[0] == "inspection_image_shift"}


def test_metrics_have_the_score_and_how_far_the_embedding_has_moved():
    """All six causes: the score as the others, the embedding as the length of its mean."""
    scores = Reference(mean=0.2, deviation=0.05)
    metrics = Metrics(lambda: running(REFERENCE, scores), lambda: 0, 1_000)
    for number, one in enumerate([(3.5, 4.0, 1.0), (2.5, 4.0, -1.0)] * 20, 1):
        metrics.observe(seen(number, 100, embedding=one, score=0.25 + 0.05 * (number % 2)))
        metrics.observe(seen(1000 + number, 100, Verdict.REVIEW, (99.0, 99.0, 99.0), score=9.0))
    assert read(metrics)["inspection_image", "main", "default", "score"] == pytest.approx(0.275)
    assert shifts(metrics)["score"] == pytest.approx(1.5)
    assert shifts(metrics)["embedding"] == pytest.approx(5), "of (3, 4, 0)"
    text = metrics.text().decode()
    assert "sqrt(sum(mean_i ** 2))" in text, "the formula stands beside the number"


def test_an_embedding_that_has_not_moved_is_near_0():
    """Standard normal in 16 directions: about sqrt(16 / 100), far below one deviation."""
    rng = np.random.default_rng(5)
    metrics = Metrics(lambda: running(REFERENCE), lambda: 0, 1_000)
    for number in range(1, PASSED + 1):
        metrics.observe(seen(number, 100, embedding=tuple(rng.standard_normal(16).tolist())))
    assert 0.2 < shifts(metrics)["embedding"] < 0.6


def test_without_features_there_is_no_shift_of_the_embedding():
    metrics = Metrics(lambda: running(REFERENCE), lambda: 0, 1_000)
    metrics.observe(seen(1, 100))
    assert "embedding" not in shifts(metrics)
    assert "score" not in shifts(metrics), "nor of the score, where nobody says what it was"


def test_parts_of_another_bundle_are_counted_apart():
    """Scores and embeddings of two bundles are of two scales, and not even of one length."""
    metrics = Metrics(lambda: running(REFERENCE), lambda: 0, 1_000)
    metrics.observe(seen(1, 90, embedding=(8.0, 8.0), bundle_id="older", score=7.0))
    assert shifts(metrics) == {"embedding": pytest.approx(8 * 2**0.5)}, "the status says another"
    metrics.observe(seen(2, 100, embedding=(0.0, 3.0, 4.0), score=0.5))
    assert read(metrics)["inspection_image", "main", "default", "score"] == 0.5
    assert shifts(metrics)["embedding"] == 5


def test_a_station_says_what_the_calibrate_scores_of_its_bundle_are(tmp_path: Path):
    """So that the metrics can say how far the score has moved."""
    bundle = open_bundle(make_bundle(tmp_path / "bundle"))
    judge = BundleJudge(bundle, Roi(), bundle.card.band)
    said = Current(bundle, WALL).status("plate", "main", judge, ()).scores
    scores = bundle.card.calibrate_scores
    assert said == Reference(mean=float(np.mean(scores)), deviation=float(np.std(scores)))
