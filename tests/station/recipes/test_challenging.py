"""A challenger the hub offers is opened to score in the shadow, and never judges."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag

import numpy as np
import pytest

from inspection.bench.redness import BAND
from inspection.bundles.bundle import Bundle, open_bundle
from inspection.bundles.graph import Compiling
from inspection.bundles.seal import verify_bundle, write_gate
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.decision import Band
from inspection.station.judge import Challenger
from inspection.station.recipes import challenging
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.recipes.opening import FATAL, MOST_ATTEMPTS, open_tested
from inspection.station.recipes.standing import COPIES, read_standings
from inspection.station.settings import StationConfig
from tests.station.bundles import gate_of, make_bundle
from tests.station.recipes.hub import Hub, running_hub
from tests.station.recipes.test_choices import at
from tests.station.recipes.test_recipes import record, score
from tests.station.recipes.test_updates import Bench

NEVER = Flag()


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run a hub."""
    with running_hub() as running:
        yield running


@pytest.fixture
def rival(tmp_path: Path) -> Path:
    """A bundle of gain 2, newer than the configured one."""
    return make_bundle(tmp_path / "rival", gain=2, day=1)


def offer(hub: Hub, bundle: Path) -> str:
    """Offer a bundle as challenger, which an update would be, as new as it is."""
    bundle_id = hub.lend(bundle, chosen_at=at(5))
    hub.listed[-1] = hub.listed[-1].model_copy(update={"role": "challenger"})
    return bundle_id


@contextmanager
def bench(folder: Path, hub: Hub, **changes: object) -> Iterator[Bench]:
    """Open a station that looks at a hub; a bundle of gain 1 judges there."""
    opened = Bench(folder, updates={"bundles": [hub.address], "poll_ms": 50}, **changes)
    try:
        yield opened
    finally:
        for source in opened.updates._sources:
            source.close()


def shadow_score(station: Bench) -> float | None:
    """Give what the challenger says of the part the champion scores 0.2."""
    challenger = station.recipes.of("default")["main"].challenger
    if challenger is None:
        return None
    judge = BundleJudge(open_bundle(challenger.folder), challenger.roi, challenger.band)
    cut = judge.cut(np.full((70, 100, 3), 51, np.uint8))
    return round(judge.judge(judge.prepare(cut), cut.shape[:2]).score, 4)


def test_it_scores_beside_the_champion_and_is_let_go_of(tmp_path: Path, hub: Hub, rival: Path):
    with bench(tmp_path, hub) as station:
        assert (station.look(), shadow_score(station)) == (0.2, None)
        bundle_id = offer(hub, rival)
        assert (station.look(), shadow_score(station)) == (0.2, 0.4)
        assert station.recipes.challengers() == {"redness": bundle_id}
        assert station.copies == [bundle_id]
        (status,) = station.recipes.statuses()
        assert (status.bundle_id, status.trial) == (verify_bundle(tmp_path / "bundle"), False)
        fetched = len(hub.asked)
        station.look()
        assert len(hub.asked) == fetched + 1  # the list
        hub.listed.clear()
        assert (station.look(), shadow_score(station)) == (0.2, None)
        station.look()
        assert station.copies == []


def test_it_is_tested_in_one_thread_and_closed_again(
    tmp_path: Path, hub: Hub, rival: Path, monkeypatch: pytest.MonkeyPatch
):
    """A process of its own opens it anew, so the station keeps no graph of it."""
    opened: list[weakref.ref[Bundle]] = []
    compilings: list[Compiling] = []

    def open_seen(folder: Path, config: StationConfig, *, gently: bool) -> Bundle:
        bundle = open_tested(folder, config, gently=gently)
        opened.append(weakref.ref(bundle))
        compilings.append(bundle._graph.compiling)
        return bundle

    monkeypatch.setattr(challenging, "open_tested", open_seen)
    bundle_id = offer(hub, rival)
    with bench(tmp_path, hub, inference={"mode": "latency", "threads": 4}) as station:
        station.look()
        judge = station.recipes.of("default")["main"]
        assert judge.bundle._graph.compiling.threads == 4
        (compiling,) = compilings
        assert (compiling.mode, compiling.threads, compiling.gently) == ("throughput", 1, True)
        gc.collect()
        assert [one() for one in opened] == [None]
        copy = station.config.data_dir / COPIES / bundle_id
        assert judge.challenger == Challenger(bundle_id, copy, judge.roi, BAND)


def test_it_stays_while_the_hub_is_silent(tmp_path: Path, hub: Hub, rival: Path):
    offer(hub, rival)
    with bench(tmp_path, hub) as station:
        station.look()
        hub.status = 503
        assert (station.look(), shadow_score(station)) == (0.2, 0.4)


def test_another_one_takes_its_place(tmp_path: Path, hub: Hub, rival: Path):
    offer(hub, rival)
    with bench(tmp_path, hub) as station:
        station.look()
        hub.listed.clear()
        offer(hub, make_bundle(tmp_path / "third", gain=3, day=2))
        assert (station.look(), shadow_score(station)) == (0.2, 0.6)


def test_in_rollout_it_judges_and_is_its_own_rival_no_more(tmp_path: Path, hub: Hub, rival: Path):
    offer(hub, rival)
    with bench(tmp_path, hub) as station:
        station.look()
        hub.choose(rival, at(6))
        assert (station.look(), shadow_score(station)) == (0.4, None)
        assert (station.recipes.challengers(), station.recipes.statuses()[0].trial) == ({}, True)


def test_thresholds_signed_for_it_hold_in_the_shadow(tmp_path: Path, hub: Hub, rival: Path):
    bundle_id, band = offer(hub, rival), Band(review_above=0.1, reject_above=0.3)
    with bench(tmp_path, hub) as station:
        station.look()
        station.recipes.set_records([record(bundle_id, band)], "")
        judge = station.recipes.of("default")["main"]
        assert judge.challenger is not None
        assert (judge.challenger.band, judge.band == band) == (band, False)


def test_one_its_gate_refused_or_of_another_name_never_scores(tmp_path: Path, hub: Hub, caplog):
    refused = make_bundle(tmp_path / "refused", gain=2, day=1)
    write_gate(refused, gate_of(verify_bundle(refused), passed=False))
    offer(hub, refused)
    with bench(tmp_path, hub) as station:
        assert (station.look(), shadow_score(station)) == (0.2, None)
        assert "the gate refused it" in caplog.records[-1].reason
        hub.listed.clear()
        offer(hub, make_bundle(tmp_path / "other", gain=2, day=1, name="other"))
        hub.listed[-1] = hub.listed[-1].model_copy(update={"name": "redness"})
        assert (station.look(), shadow_score(station)) == (0.2, None)
        assert "its card says 'other'; wanted 'redness'" in caplog.records[-1].reason


def test_one_of_a_name_nobody_judges_by_here_is_not_even_copied(tmp_path: Path, hub: Hub):
    offer(hub, make_bundle(tmp_path / "other", gain=2, day=1, name="other"))
    with bench(tmp_path, hub) as station:
        assert (station.look(), station.copies) == (0.2, [])


def test_one_that_fails_the_check_is_refused_for_good(tmp_path: Path, hub: Hub):
    bundle_id = offer(hub, make_bundle(tmp_path / "a", gain=2, day=1, golden_red=60))
    with bench(tmp_path, hub) as station:
        for _ in range(MOST_ATTEMPTS):
            station.updates._challengers._due_s.clear()
            assert (station.look(), shadow_score(station)) == (0.2, None)
        station.updates._challengers._due_s.clear()
        station.look()
        assert station.recipes.refusal(bundle_id).endswith(FATAL)


def test_one_that_ends_the_process_again_and_again_is_not_tried_for_ever(
    tmp_path: Path, hub: Hub, rival: Path
):
    """What it scored once it does not do so at once; until then each process counts."""
    bundle_id = offer(hub, rival)
    for attempt in range(MOST_ATTEMPTS):
        with bench(tmp_path, hub) as station:
            assert station.recipes.attempts(bundle_id) == attempt
            station.look()
            assert shadow_score(station) == 0.4
    with bench(tmp_path, hub) as station:
        assert (station.look(), shadow_score(station)) == (0.2, None)
        assert station.note.endswith(FATAL)


def test_one_that_has_scored_a_part_is_no_danger(tmp_path: Path, hub: Hub, rival: Path):
    bundle_id = offer(hub, rival)
    with bench(tmp_path, hub) as station:
        station.look()
        station.recipes.lasted(bundle_id)
        station.recipes.lasted("of nobody")
        station.look()
        assert read_standings(station.config.data_dir).attempts == {}


def test_what_does_not_go_is_tried_again_after_a_pause(
    tmp_path: Path, hub: Hub, rival: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle_id = offer(hub, rival)
    hub.breaks_off_at = "card.json"
    with bench(tmp_path, hub) as station:
        assert (station.look(), shadow_score(station)) == (0.2, None)
        hub.breaks_off_at = ""
        assert (station.look(), shadow_score(station)) == (0.2, None)
        assert station.copies == [f".{bundle_id}.arriving"]
        monkeypatch.setattr(challenging, "PAUSE_S", 0.0)
        station.updates._challengers._due_s[bundle_id] = 0.0
        assert (station.look(), shadow_score(station)) == (0.2, 0.4)
        assert score(station.recipes) == 0.2
