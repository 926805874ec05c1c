"""The simulated month: one day of it lived for real, and what is made of what happened."""

from datetime import timedelta

import numpy as np
import pytest
import yaml
from PIL import Image

from inspection.bench.redness import HEIGHT_PX, WIDTH_PX, make_bundle
from inspection.bench.retraining import months
from inspection.bench.retraining.calendar import BEGIN, DAYS, condition_at
from inspection.bench.retraining.line import NAME, Judged
from inspection.bench.retraining.month import Month, Start, live
from inspection.bench.retraining.parts import FLAWS, Batch, Store
from inspection.bench.retraining.picture import draw_month
from inspection.bench.retraining.product import EXPORT, TRAIN, make_plant
from inspection.bench.retraining.truth import Rival
from inspection.core.decision import Verdict
from inspection.core.records import Interval
from inspection.hub.wire.retraining import Alarm
from inspection.metrics.causes import Advice, Cause

DAY = timedelta(days=1)
LIGHT, TEXTURE, SMEAR = months.CHANGES


def paint(path, red: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    pixels[..., 0] = red
    Image.fromarray(pixels).save(path)


@pytest.fixture
def start(tmp_path, monkeypatch) -> Start:
    """Parts whose defects are red, and a bundle that sees red."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    for batch in Batch:
        for number in range(12):
            paint(tmp_path / "store" / batch / "good" / f"{number}.png", 30 + number)
        for flaw in FLAWS:
            paint(tmp_path / "store" / batch / flaw / "0.png", 250)
    plant = make_plant(tmp_path / "plant")
    for name, config in (("train", TRAIN), ("export", EXPORT)):
        text = yaml.safe_dump(config.model_dump(mode="json"))
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Start(
        store=Store(tmp_path / "store"),
        bundle=make_bundle(tmp_path / "bundle", name=NAME),
        manifest=plant.folder / "set.json",
        train=tmp_path / "train.yaml",
        export=tmp_path / "export.yaml",
        parts_per_hour=6,
    )


def test_a_quiet_day_is_judged_reviewed_and_looked_at(start, tmp_path):
    (tmp_path / "month").mkdir()
    month = live(start, tmp_path / "month", seed=1, days=1)
    assert len(month.judged) == 16 * 6
    assert all((one.verdict is Verdict.PASS) is (one.defect is None) for one in month.judged), (
        "goods pass, and defects do not"
    )
    assert month.decided > 0
    assert (month.alarms, month.jobs, month.faults, month.rivals) == ((), (), (), ())
    assert len(month.choices) == 1


def judged(day: float, verdict: Verdict, defect: str | None = None) -> Judged:
    return Judged("event", BEGIN + day * DAY, defect, verdict, "bundle")


def month(*parts: Judged, alarms=(), rivals=()) -> Month:
    return Month(1, parts, tuple(alarms), (), (), None, 10, 1, (), tuple(rivals))


def alarm(cause: Cause, day: float) -> Alarm:
    return Alarm(
        id=1,
        line="line-1",
        product="plate",
        camera="main",
        bundle_id="b" * 64,
        cause=cause,
        raised_at=BEGIN + day * DAY,
        cleared_at=None,
        why_cleared="",
        since=None,
        effect=3.0,
        p_value=0.001,
        words="",
        advice=Advice.REFIT,
    )


def test_a_change_is_named_by_an_alarm_of_its_cause_while_it_is_the_last_one():
    assert months.is_named(month(alarms=[alarm(Cause.LIGHT, LIGHT.begin + 1)]), LIGHT)
    assert not months.is_named(month(alarms=[alarm(Cause.FOCUS, LIGHT.begin + 1)]), LIGHT)
    assert not months.is_named(month(alarms=[alarm(Cause.LIGHT, LIGHT.begin - 1)]), LIGHT)
    assert not months.is_named(month(alarms=[alarm(Cause.TEXTURE, SMEAR.begin + 1)]), TEXTURE)


def test_false_rejects_are_back_or_not_a_day_after_a_change_was_there_in_full():
    day = SMEAR.whole + 1.5
    good = [judged(day, Verdict.PASS)] * 100
    assert months.is_back(month(*good, *[judged(day, Verdict.REVIEW)] * 5), SMEAR)
    assert not months.is_back(month(*good, *[judged(day, Verdict.REJECT)] * 30), SMEAR)


def test_escapes_and_worse_promotions_miss_their_goals():
    rival = Rival(BEGIN, 0.95, 0.85, Interval(value=0.1, low=0.05, high=0.15))
    bad = month(*[judged(3, Verdict.PASS, "dent")] * 30, rivals=[rival])
    goals = {one.what: one for one in months.judge([bad], (5, 100))}
    assert not goals["promotions of a worse bundle"].reached
    assert not goals["escapes, lower limit over upper limit without drift"].reached
    fair = month(*[judged(3, Verdict.REJECT, "dent")] * 30)
    assert months.judge([fair], (5, 100))[2].reached


def test_a_lens_that_was_cleaned_is_clean():
    at = BEGIN + (SMEAR.begin + 1) * DAY
    assert condition_at(at, None).smear > 0
    assert condition_at(at, at).smear == 0


def test_a_month_that_was_lived_through_is_not_lived_again(tmp_path, monkeypatch):
    lived = month(
        judged(3, Verdict.PASS, "dent"),
        alarms=[alarm(Cause.LIGHT, 9)],
        rivals=[Rival(BEGIN, 0.99, 0.98, Interval(value=0.01, low=0.0, high=0.02))],
    )
    calls = []
    monkeypatch.setattr(months, "live", lambda *given: calls.append(given) or lived)
    kept = tmp_path / "1.json"
    assert months._live(None, kept, 1, 30) == months._live(None, kept, 1, 30) == lived
    assert len(calls) == 1


def test_a_month_is_drawn(tmp_path):
    parts = [judged(day + 0.1, Verdict.PASS) for day in range(DAYS)]
    draw_month(month(*parts, alarms=[alarm(Cause.LIGHT, 9)]), tmp_path / "month.svg", 0.05)
    assert "<svg" in (tmp_path / "month.svg").read_text(encoding="utf-8")
