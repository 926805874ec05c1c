"""Thresholds that rest on few good parts are fitted again once more are reviewed."""

from datetime import UTC, datetime

import pytest

from inspection.core.decision import Band
from inspection.hub.hub import Hub
from inspection.hub.stations import enrol
from inspection.hub.thresholds import apply_thresholds, read_card, record_in_force
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.retraining import JobKind
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import NewThresholds
from inspection.retraining.known import EPOCH, Scope
from inspection.retraining.policy import Facts, Thin, decide
from inspection.retraining.settings import Policy
from inspection.retraining.thin import FEW, MORE, find_thin
from tests.hub.parts import part, store
from tests.hub.scored import BUNDLE, add_card, review
from tests.retraining.loop import ANN

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
LEAST = 99  # calibrate parts that can promise 1 %
SCOPE = Scope("line-1", "plate", BUNDLE, EPOCH)


@pytest.fixture
def line(sqlite_hub, tmp_path, monkeypatch) -> Hub:
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    return sqlite_hub


def found(hub: Hub) -> Thin | None:
    with hub.database.reading() as connection:
        record = record_in_force(connection, "line-1", BUNDLE, "plate")
        return find_thin(connection, SCOPE, read_card(connection, BUNDLE), record)


def held_good(hub: Hub, count: int, begin: int = 0):
    """Let parts be held, each of which is reviewed good and stands for itself."""
    numbers = range(begin + 1, begin + count + 1)
    store(hub, *(part(number, 1.5) for number in numbers))
    for number in numbers:
        review(hub, number, Decision.GOOD)


def test_twice_as_many_as_few_is_enough(line):
    add_card(line, (0.5,) * LEAST)
    held_good(line, MORE * LEAST - 1)
    assert found(line) is None
    held_good(line, 1, MORE * LEAST - 1)
    assert found(line) == Thin(LEAST, MORE * LEAST, 0.01)


def test_what_many_parts_promise_stays(line):
    add_card(line, (0.5,) * (FEW * LEAST))
    held_good(line, 2)
    assert found(line) is None


def test_what_was_set_since_stays(line):
    """A re-fit has its parts, a person a reason."""
    add_card(line, (0.5,) * LEAST)
    held_good(line, MORE * LEAST)
    band = Band(review_above=1.0, reject_above=2.0)
    new = NewThresholds(bundle_id=BUNDLE, band=band, stations=("station-1",), comment="strict")
    apply_thresholds(line, "line-1", new, ANN.account)
    assert found(line) is None


@pytest.mark.fast
@pytest.mark.parametrize(("watched", "kind"), [(True, JobKind.REFIT), (False, None)])
def test_the_policy_says_what_they_rest_on(watched, kind):
    rules = Policy(triggers={"cron": None, "reviews": None, "age_days": None, "overkill": watched})
    facts = Facts(NOW, updatable=True, reviews=0, thin=Thin(26, 61, 0.05))
    decision = decide(rules, facts, NOW)
    assert decision.kind is kind
    said = "rest on 26 good parts, few to promise 5.00%; those reviewed since say as much as 61."
    assert (said in decision.words) is watched
