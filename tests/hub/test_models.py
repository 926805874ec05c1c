"""Bundles on the hub: what comes in, what is chosen, how stations stand to it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from inspection.bench.redness import gate_of, make_bundle
from inspection.bundles.bundle import GRAPH
from inspection.bundles.seal import GATE, write_gate
from inspection.core.decision import Verdict
from inspection.core.errors import BundleCorrupt, BundleError, GateRefused
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.asking import Refused
from inspection.hub.ingest import Sender, keep_status
from inspection.hub.models import add_bundle, choose, list_bundles, list_choices, parity
from inspection.hub.stations import enrol
from inspection.hub.tables import audit
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from inspection.station.state import BundleStatus, StationState, StationStatus


def add(hub, folder, **made):
    """Make a bundle and give its id on the hub."""
    return add_bundle(hub, make_bundle(folder, **made), "ann").bundle_id


def said_by(hub, station: str, line: str, *running: tuple[str, str]) -> None:
    """Let a station say which bundles, name and id, judge there."""
    enrol(hub, NewStation(station=station, line=line), "test")
    now = datetime.now(UTC)
    status = StationStatus(
        line=line,
        station=station,
        state=StationState.READY,
        reason="",
        beat=1,
        at=now,
        started_at=now,
        version="1",
        deadline_ms=1000,
        counts=dict.fromkeys(Verdict, 0),
        since_start=dict.fromkeys(Verdict, 0),
        sequence=0,
        last=(),
        latency=None,
        waiting=0,
        late=0,
        source="",
        outputs=(),
        bundles=tuple(
            BundleStatus(
                product=product,
                camera="main",
                name=name,
                bundle_id=bundle_id,
                review_above=0.5,
                reject_above=0.8,
                since=now,
                trial=False,
                note="",
            )
            for name, bundle_id in running
            for product in ("a", "b")
        ),
        disk_bytes=0,
        budget_bytes=1,
        dropped={},
    )
    keep_status(hub, Sender(station, line), status.model_dump_json().encode())


def actions(hub) -> list[str]:
    """Give the audit log's actions, the oldest first."""
    with hub.database.reading() as connection:
        return list(connection.execute(select(audit.c.action).order_by(audit.c.id)).scalars())


def test_a_bundle_is_chosen_and_rolled_back_per_line(plant, tmp_path):
    first, second = (add(plant.hub, tmp_path / str(day), day=day) for day in (1, 2))
    engineer = plant.person(Role.ENGINEER, "eve")
    assert [(one.bundle_id, one.chosen) for one in engineer.bundles()] == [
        (second, ()),
        (first, ()),
    ]
    for bundle_id in (first, second, first):
        engineer.choose("line-1", NewChoice(bundle_id=bundle_id, comment="because"))
    engineer.choose("line-2", NewChoice(bundle_id=second, comment="trial"))
    history = engineer.choices("line-1")
    assert [(one.bundle_id, one.in_force) for one in history] == [
        (first, True),
        (second, False),
        (first, False),
    ]
    assert (history[0].who, history[0].why, history[0].name) == ("eve", "because", "redness")
    chosen = {one.bundle_id: one.chosen for one in engineer.bundles()}
    assert chosen == {first: ("line-1",), second: ("line-2",)}
    assert actions(plant.hub).count("bundle choose") == 4


def test_the_same_bundle_again_changes_nothing(sqlite_hub, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    before, log = add_bundle(sqlite_hub, folder, "ann"), actions(sqlite_hub)
    assert add_bundle(sqlite_hub, folder, "bob") == before
    assert actions(sqlite_hub) == log == ["bundle add"]


def test_a_renewed_gate_record_takes_the_place_of_the_one_before(sqlite_hub, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    bundle_id = add_bundle(sqlite_hub, folder, "ann").bundle_id
    write_gate(folder, gate_of(bundle_id).model_copy(update={"evidence": "generated defects"}))
    assert add_bundle(sqlite_hub, folder, "ann").gate.evidence == "generated defects"
    kept = sqlite_hub.artefacts.get(bundle_file_name(bundle_id, GATE))
    assert kept == (folder / GATE).read_bytes()
    assert actions(sqlite_hub) == ["bundle add", "bundle renew"]


def test_a_bundle_without_gate_stays_out(sqlite_hub, tmp_path):
    with pytest.raises(GateRefused, match="never put to the gate"):
        add_bundle(sqlite_hub, make_bundle(tmp_path / "bundle", gated=False), "ann")
    assert list_bundles(sqlite_hub) == ()


def test_a_changed_bundle_stays_out(sqlite_hub, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    (folder / GRAPH).write_bytes(b"other")
    with pytest.raises(BundleCorrupt, match=r"'model.xml' was changed"):
        add_bundle(sqlite_hub, folder, "ann")
    assert list(sqlite_hub.artefacts.names("bundles")) == []


def test_a_strangers_bundle_stays_out(sqlite_hub, tmp_path):
    with pytest.raises(BundleError, match="not among the trusted keys"):
        add_bundle(sqlite_hub, make_bundle(tmp_path / "bundle"), "ann", ("0" * 64,))


def test_only_a_bundle_of_the_hub_is_chosen_and_only_by_an_engineer(sqlite_plant):
    unknown = NewChoice(bundle_id="0" * 64, comment="why")
    with pytest.raises(Refused, match="not on this hub") as refused:
        sqlite_plant.person(Role.ENGINEER).choose("line-1", unknown)
    assert refused.value.status == 404
    with pytest.raises(Refused, match="needs engineer") as refused:
        sqlite_plant.person(Role.REVIEWER).choose("line-1", unknown)
    assert refused.value.status == 403


def test_a_later_choice_is_newer_whatever_the_clocks_say(sqlite_hub, tmp_path):
    ahead = (datetime.now(UTC) - datetime(2025, 3, 1, tzinfo=UTC)) / timedelta(days=1) + 30
    older, future = add(sqlite_hub, tmp_path / "a"), add(sqlite_hub, tmp_path / "b", day=int(ahead))
    for bundle_id in (future, older, future):
        choose(sqlite_hub, "line-1", NewChoice(bundle_id=bundle_id, comment="why"), "ann")
    made = {one.bundle_id: one.created_at for one in list_bundles(sqlite_hub)}
    ranks = [max(one.chosen_at, made[one.bundle_id]) for one in list_choices(sqlite_hub, "line-1")]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == 3


def test_parity_holds_stations_against_the_choice_of_their_line(hub, tmp_path):
    wanted, other = add(hub, tmp_path / "a"), add(hub, tmp_path / "b", day=1)
    choose(hub, "line-1", NewChoice(bundle_id=wanted, comment="why"), "ann")
    said_by(hub, "s1", "line-1", ("redness", wanted))
    said_by(hub, "s2", "line-1", ("redness", other), ("lid", "f" * 64))
    said_by(hub, "s3", "line-2", ("redness", other))
    found = [(one.station, one.name, one.wanted, one.agrees) for one in parity(hub)]
    assert found == [
        ("s1", "redness", wanted, True),
        ("s2", "redness", wanted, False),
        ("s2", "lid", None, True),
        ("s3", "redness", None, True),
    ]
    running = {one.bundle_id: one.running for one in list_bundles(hub)}
    assert running == {wanted: ("s1",), other: ("s2", "s3")}
