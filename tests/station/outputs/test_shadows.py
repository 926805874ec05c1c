"""What challengers said goes to the hub beside the events: in batches, once, within bounds."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from inspection.core.decision import Verdict
from inspection.station.outputs import shadows
from inspection.station.outputs.courier import BackOff
from inspection.station.outputs.hub import HubOutput
from inspection.station.outputs.settings import ActionSettings, HubSettings
from inspection.station.pictures import Picture
from inspection.station.shadow import Hearer, Scored, ShadowScore
from tests.station.events import NAMES, event
from tests.station.outputs.server import Answer, Request, Server


def scored(number: int, picture: bool = False) -> Scored:
    said = ShadowScore(
        event_id=f"part {number}",
        camera="top",
        bundle_id="c" * 64,
        score=0.5,
        verdict=Verdict.REJECT,
        champion=Verdict.PASS,
        latency_ms=1.0,
        at=datetime(2026, 3, 2, tzinfo=UTC),
    )
    return Scored(said, Picture(f"{number}-top.png", lambda: b"png") if picture else None)


class Hub:
    """A hub that takes shadows, or answers by a script."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.batches: list[list[str]] = []
        self.pictures: list[str] = []

    @property
    def taken(self) -> list[str]:
        """The ids of the parts, in the order they came."""
        return [one for batch in self.batches for one in batch]

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200 and request.method == "PUT":
            self.pictures.append(request.path)
        elif status == 200 and request.path.endswith("/shadows"):
            self.batches.append([one["event_id"] for one in json.loads(request.body)])
        return Answer(status, b'{"stored": 1}')


def output(server: Server) -> HubOutput:
    values = {"kind": "hub", "url": server.url, "status_ms": 100}
    return HubOutput(
        HubSettings.model_validate(values), *NAMES, ActionSettings(), lambda _event: []
    )


def soon(wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not wanted() and time.monotonic() < until:
        time.sleep(0.01)
    assert wanted()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shadows, "BACK_OFF", BackOff(0.01, 0.05))


def test_all_of_them_come_in_batches_and_what_is_left_before_the_end(monkeypatch):
    monkeypatch.setattr(shadows, "BATCH", 3)
    hub = Hub()
    with Server(hub) as server:
        sender = output(server)
        assert isinstance(sender, Hearer)
        for number in range(7):
            sender.hear(scored(number))
        sender.close()
    assert [len(batch) for batch in hub.batches] in ([3, 3, 1], [1, 3, 3], [2, 3, 2])
    assert hub.taken == [f"part {number}" for number in range(7)]
    assert sender.unheard("c" * 64) == 0


def test_what_the_hub_does_not_take_now_is_sent_again(caplog):
    hub = Hub(503, 503, 401)
    with Server(hub) as server:
        sender = output(server)
        sender.hear(scored(1))
        soon(lambda: bool(hub.batches))
        sender.close()
    assert hub.batches == [["part 1"]]
    assert len([m for m in caplog.messages if m == "shadows not sent"]) == 2  # once for each


def test_an_older_hub_costs_what_was_said_and_nothing_else(caplog):
    hub = Hub(404)
    with Server(hub) as server:
        sender = output(server)
        sender.connect()
        sender.hear(scored(1))
        soon(lambda: sender.unheard("c" * 64) == 1)
        assert sender.deliver([event(1)]) == 1
        sender.close()
    assert "hub does not take what a challenger said" in caplog.text


def test_while_the_hub_is_away_the_oldest_are_lost_and_counted(monkeypatch):
    monkeypatch.setattr(shadows, "MOST_WAITING", 5)
    monkeypatch.setattr(shadows, "BATCH", 5)
    hub = Hub(*[503] * 1000)
    with Server(hub) as server:
        sender = output(server)
        sender.hear(scored(0))
        soon(lambda: len(hub.statuses) < 1000)  # the first is under way
        for number in range(1, 9):
            sender.hear(scored(number))
        assert sender.unheard("c" * 64) + 5 + 5 >= 9
        hub.statuses.clear()
        soon(lambda: sum(map(len, hub.batches)) == 9 - sender.unheard("c" * 64))
        sender.close()
    assert hub.taken[-1] == "part 8"
    assert sender.unheard("c" * 64) > 0


def test_a_picture_follows_as_soon_as_its_event_is_there():
    """404 says that the event is on its way; other pictures do not wait for it."""
    hub = Hub(200, 404, 200, 200)
    with Server(hub) as server:
        sender = output(server)
        sender._shadows._changed.acquire()  # so that both go at once
        try:
            sender._shadows._waiting.append(scored(1).said)
            sender._shadows._pictures.append(shadows._Sent("part 1", "1-top.png", b"png"))
            sender._shadows._pictures.append(shadows._Sent("part 2", "2-top.png", b"png"))
        finally:
            sender._shadows._changed.release()
        sender.hear(scored(3))
        soon(lambda: len(hub.pictures) == 2)
        sender.close()
    assert [path.rpartition("/")[2] for path in hub.pictures] == ["2-top.png", "1-top.png"]
    assert hub.pictures[1] == "/v1/events/part%201/pictures/1-top.png"


def test_a_picture_whose_event_never_comes_is_given_up(caplog):
    hub = Hub(200, *[404] * shadows.PICTURE_TRIES)
    with Server(hub) as server:
        sender = output(server)
        sender.hear(scored(1, picture=True))
        soon(lambda: "hub does not take" in caplog.text)
        sender.close()
    assert (hub.pictures, sender.unheard("c" * 64), hub.statuses) == ([], 0, [])


def test_closing_does_not_wait_for_a_hub_that_is_gone():
    hub = Hub(*[503] * 1000)
    with Server(hub) as server:
        sender = output(server)
        sender.hear(scored(1))
        begun_s = time.monotonic()
        sender.close()
    assert time.monotonic() - begun_s < 5
