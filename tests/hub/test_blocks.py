"""Which parts stand for a block: spread over its time, and for pictures those that say it."""

import json
from collections.abc import Iterable
from datetime import timedelta

import numpy as np
import pytest

from inspection.core.decision import Verdict
from inspection.core.image_statistics import ImageStatistics
from inspection.hub.blocks import BLOCK_READ, HOUR, JUDGED, PASSED, Reader, Span, form_blocks
from inspection.hub.hub import Hub
from inspection.hub.ingest import store_events
from inspection.hub.references import Place
from inspection.hub.watches import watch_line
from inspection.metrics.drift import LIGHT, SCORE
from tests.hub.parts import BEGIN, SENDER, part

SEEN = ImageStatistics(light=100, focus=-4, across=0.5, down=0.5, texture=0.5)


def fill(hub: Hub, seconds: Iterable[float], measured=lambda number: True, light=None) -> None:
    """Store parts that passed, captured so many seconds after the beginning."""
    records = []
    for number, second in enumerate(seconds):
        one = part(number + 1, 0.5)
        seen = SEEN.model_copy(update={"light": light(second) if light else SEEN.light})
        statistics = seen if measured(number) else None
        frame = one.frames[0].model_copy(update={"statistics": statistics})
        values = {"captured_at": BEGIN + timedelta(seconds=second), "frames": (frame,)}
        one = one.model_copy(update=values)
        records.append(one.model_dump(mode="json") | {"action": "none"})
    for first in range(0, len(records), 100):
        store_events(hub, SENDER, json.dumps(records[first : first + 100]).encode())


def drawn(hub: Hub, verdicts=PASSED):
    """Draw from the first block; seconds after the beginning of all, and of those measured."""
    with hub.database.reading() as connection:
        reader = Reader(connection, SENDER.line, "plate", SENDER.station)
        counted = reader.hours(BEGIN, BEGIN + 48 * HOUR)
        (span, *_) = form_blocks((one.hour, one.passed) for one in counted)
        found = reader.draw(span, verdicts)
    return [[(one.captured_at - BEGIN).total_seconds() for one in some] for some in found]


@pytest.mark.parametrize("parts", [60, 100, 101, 900], ids=str)
def test_what_is_drawn_of_a_block_is_spread_over_its_hour(hub, parts):
    """Of few parts, read as they are, and of many, read here and there."""
    fill(hub, np.linspace(0, 3599, parts))
    seconds, measured = drawn(hub)
    assert len(seconds) == BLOCK_READ
    assert seconds == measured
    assert np.diff(seconds) == pytest.approx(3600 / BLOCK_READ, abs=3600 / parts + 40)
    assert seconds[0] < 150
    assert seconds[-1] > 3400


def test_of_a_block_with_few_parts_all_are_drawn(sqlite_hub):
    fill(sqlite_hub, range(0, 3600, 200))
    assert drawn(sqlite_hub)[0] == list(range(0, 3600, 200))


def test_a_quiet_hour_before_a_busy_one_has_its_share_of_the_draw_only(sqlite_hub):
    """Four parts, a rest, and a thousand: the thousand are what the block is."""
    fill(sqlite_hub, [*range(4), *(10 * 3600 + np.linspace(0, 3599, 1000))])
    seconds, _ = drawn(sqlite_hub)
    assert len(seconds) == BLOCK_READ
    assert sum(second >= 10 * 3600 for second in seconds) == BLOCK_READ - 1


@pytest.mark.parametrize("parts", [90, 2000], ids=["few", "many"])
def test_pictures_are_drawn_among_parts_that_were_measured_and_scores_among_all(hub, parts):
    """A station at a part a second measures here every seventh."""
    fill(hub, np.linspace(0, 3599, parts), lambda number: number % 7 == 3)
    seconds, measured = drawn(hub)
    assert len(seconds) == BLOCK_READ
    assert len(measured) == min(BLOCK_READ, len(range(3, parts, 7)))
    numbers = np.array(measured) / 3599 * (parts - 1)
    assert np.round(numbers).astype(int) % 7 == pytest.approx(3)
    assert measured[-1] - measured[0] > 3000


def test_a_block_without_pictures_is_of_scores_only(sqlite_hub):
    """As a station of before sends them."""
    fill(sqlite_hub, np.linspace(0, 3599, 300), lambda _number: False)
    assert [len(some) for some in drawn(sqlite_hub, JUDGED)] == [BLOCK_READ, 0]


def test_the_mean_of_a_block_is_that_of_its_hour(sqlite_hub):
    """A light that rises through every hour is no other light; the first seconds were darker."""
    hours = 30
    fill(
        sqlite_hub,
        (hour * 3600 + second for hour in range(hours) for second in np.linspace(0, 3599, 120)),
        light=lambda second: 100 + second % 3600 / 360,
    )
    with sqlite_hub.database.reading() as connection:
        (watch,) = watch_line(connection, SENDER.line, BEGIN + hours * HOUR, {})
    assert watch.place == Place(SENDER.line, "plate", SENDER.station, "top", "b" * 64)
    assert watch.reference is not None
    means = watch.reference.blocks.means
    assert means[:, LIGHT] == pytest.approx(105, abs=0.3)
    assert means[:, SCORE] == pytest.approx(0.5)


def test_scores_and_pictures_of_a_block_count_its_parts_once(sqlite_hub):
    fill(
        sqlite_hub,
        (hour * 3600 + second for hour in range(30) for second in np.linspace(0, 3599, 120)),
        lambda number: number % 2 == 0,
    )
    with sqlite_hub.database.reading() as connection:
        (watch,) = watch_line(connection, SENDER.line, BEGIN + 30 * HOUR, {})
    assert watch.reference is not None
    assert set(watch.reference.blocks.counts) == {BLOCK_READ}
    assert np.isfinite(watch.reference.blocks.means[:, : SCORE + 1]).all()


def test_hours_are_joined_until_they_hold_eight_parts_and_empty_ones_leave_no_trace():
    hours = [(BEGIN + number * HOUR, count) for number, count in enumerate((3, 0, 5, 9, 2))]
    first = Span(BEGIN, BEGIN + 3 * HOUR, 8, ((BEGIN, 3), (BEGIN + 2 * HOUR, 5)))
    second = Span(BEGIN + 3 * HOUR, BEGIN + 4 * HOUR, 9, ((BEGIN + 3 * HOUR, 9),))
    assert form_blocks(hours) == [first, second]


def test_a_verdict_of_another_kind_is_not_drawn(sqlite_hub):
    fill(sqlite_hub, range(0, 3600, 200))
    one = part(900, 3.0).model_copy(update={"captured_at": BEGIN + timedelta(seconds=100)})
    record = one.model_dump(mode="json") | {"action": "none"}
    store_events(sqlite_hub, SENDER, json.dumps([record]).encode())
    assert one.verdict is Verdict.REJECT
    assert 100 not in drawn(sqlite_hub)[0]
    assert 100 in drawn(sqlite_hub, JUDGED)[0]
