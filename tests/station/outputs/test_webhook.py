import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.endpoint import MOST_BYTES, Endpoint
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, WebhookSettings
from inspection.station.outputs.webhook import WebhookOutput
from tests.station.events import event
from tests.station.outputs.record import SOON, WAIT_S, Acknowledged, Record, until
from tests.station.outputs.server import Answer, Request, Server
from tests.station.outputs.status import status


def webhook(url: str, **changes: object) -> WebhookOutput:
    """Make an output to an address, connected."""
    settings = WebhookSettings.model_validate({"kind": "webhook", "url": url, **changes})
    output = WebhookOutput(settings, ActionSettings())
    output.connect()
    return output


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server that answers 200."""
    with Server() as running:
        yield running


def test_an_event_is_posted_with_its_id_and_the_token(server: Server, tmp_path: Path):
    """The body is the event's JSON with `action`; the receiver can tell a repetition by the key."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    output = webhook(f"{server.url}/in?line=1", token_file=token)
    faulty = event(1, Verdict.FAULT)
    assert output.deliver([faulty]) == 1
    output.beat(status())
    output.close()
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/in?line=1")
    assert json.loads(request.body) == {**faulty.model_dump(mode="json"), "action": "reject"}
    assert request.headers["idempotency-key"] == faulty.event_id
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_every_success_acknowledges(server: Server, code: int):
    """Any 2xx will do."""
    server.answer = lambda _request: Answer(code)
    output = webhook(server.url)
    assert output.deliver([event(1)]) == 1
    output.close()


@pytest.mark.parametrize("code", [408, 425, 429, 500, 503])
def test_what_passes_is_down(server: Server, code: int):
    """The server is busy or broken: the event is tried again."""
    server.answer = lambda _request: Answer(code)
    output = webhook(server.url)
    with pytest.raises(OutputDown, match=rf"status {code}; wanted 2xx; check the server"):
        output.deliver([event(1)])
    output.close()


@pytest.mark.parametrize("code", [400, 401, 404, 413, 422])
def test_a_refusal_for_good_shows_the_receivers_words_and_skips_nothing(server: Server, code: int):
    """The technician reads the answer; the event waits, and with it those behind it."""
    server.answer = lambda _request: Answer(code, b"unknown line " + b"x" * 10_000)
    output = webhook(server.url)
    with pytest.raises(OutputDown, match=rf"status {code}: 'unknown line x+'; wanted") as refusal:
        output.deliver([event(1)])
    assert len(str(refusal.value)) < 500
    output.close()


def test_a_redirect_never_takes_the_token_elsewhere(server: Server, tmp_path: Path):
    """It is named, not followed."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    server.answer = lambda _request: Answer(307, location="http://elsewhere.invalid/in")
    output = webhook(server.url, token_file=token)
    with pytest.raises(OutputDown, match=r"a redirect to 'http://elsewhere\.invalid/in'; wri"):
        output.deliver([event(1)])
    output.close()
    assert len(server.requests) == 1


def test_a_silent_server_is_down_in_time():
    """It takes the connection and never answers: down after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        output = webhook(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_ms=100)
        with pytest.raises(OutputDown, match=r"no answer within 100 ms \(ReadTimeout"):
            output.deliver([event(1)])
        output.close()


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_server_that_drips_is_down_in_time(begin: bytes):
    """Each byte, of the head or of the body, comes in time, and the answer never ends."""
    done = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(begin)
            while not done.wait(0.02):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        output = webhook(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_ms=100)
        with pytest.raises(OutputDown, match="no whole answer within 1000 ms"):
            output.deliver([event(1)])
        done.set()
        thread.join(WAIT_S)
        output.close()


@pytest.mark.parametrize("code", [200, 500])
def test_an_endless_answer_is_not_read(server: Server, code: int):
    """What a broken server sends must not fill the memory; the status says enough."""
    server.answer = lambda _request: Answer(code, b"x" * 50_000_000)
    endpoint = Endpoint(server.url, None, 5_000)
    endpoint.open()
    if code == 200:
        assert len(endpoint.send("POST", "", b"", {})) == MOST_BYTES
    else:
        with pytest.raises(OutputDown, match="status 500; wanted 2xx"):
            endpoint.send("POST", "", b"", {})
    endpoint.close()


def test_nobody_there_is_down():
    """A refused connection names the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        output = webhook(url := f"http://127.0.0.1:{free.getsockname()[1]}/in")
        with pytest.raises(OutputDown, match=rf"POST {url}: no answer .*ConnectError"):
            output.deliver([event(1)])
        output.close()


def test_a_token_is_read_anew_for_each_connection(server: Server, tmp_path: Path):
    """A new token takes effect without a restart; a missing one is named."""
    token = tmp_path / "token"
    token.write_text("old")
    output = webhook(server.url, token_file=token)
    output.deliver([event(1)])
    token.write_text("new\n")
    output.connect()
    output.deliver([event(2)])
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer old", "Bearer new"]
    token.write_text("\n")
    with pytest.raises(OutputDown, match="token: first line is empty; wanted a password or token"):
        output.connect()
    output.close()


def test_a_receiver_that_fails_now_and_then_gets_each_event_in_order(server: Server):
    """Every third request fails, half of them after the event was taken: none is lost."""
    taken: list[str] = []
    calls = iter(range(1_000_000))
    busy = threading.Lock()

    def answer(request: Request) -> Answer:
        with busy:
            call = next(calls)
            if call % 6 != 2:
                taken.append(request.headers["idempotency-key"])
            return Answer(503 if call % 3 == 2 else 200)

    server.answer = answer
    record, acknowledged = Record(20), Acknowledged()
    output = WebhookOutput(WebhookSettings(kind="webhook", url=server.url), ActionSettings())
    courier = Courier(output, record, 0, acknowledged, SOON)
    courier.start()
    record.commit(courier, 20)
    assert courier.drain(40, WAIT_S)
    courier.stop()
    assert list(dict.fromkeys(taken)) == [event(number).event_id for number in range(1, 41)]
    assert acknowledged == list(range(1, 41))
    until(lambda: len(taken) > 40)  # some came twice, under the same key


def test_a_conflict_is_final_and_counted(server: Server):
    """The receiver has another event under this key: no retry changes that, and others go on."""
    counted: list[str] = []
    server.answer = lambda _request: Answer(409, b"known")
    settings = WebhookSettings(kind="webhook", url=server.url)
    output = WebhookOutput(settings, ActionSettings(), counted.append)
    output.connect()
    assert output.deliver([event(1), event(2)]) == 1
    assert counted == ["refused by webhook"]
    output.close()
