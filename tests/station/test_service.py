import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import httpx
import pytest

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE, own_keys
from inspection.bundles.thresholds import ThresholdRecord, set_thresholds
from inspection.core.decision import Band, Verdict
from inspection.core.errors import BundleError, ConfigError, GateRefused, StationError
from inspection.core.imaging import Rgb, decode_image
from inspection.core.records import Event, read_record
from inspection.station.outputs.output import OutputDown, OutputGone
from inspection.station.selftest import SelftestRecord
from inspection.station.service import SELFTEST_FILE, serve
from inspection.station.settings import StationConfig
from inspection.station.sources import decoding
from inspection.station.state import StationState, StationStatus
from tests.station.bundles import make_bundle
from tests.station.rig import recorded
from tests.station.sources.files import encoded, eventually, put


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def configure(folder: Path, **changes: object) -> StationConfig:
    """Configure a station with a watched folder, judged once, and a bundle that judges redness."""
    (folder / "in").mkdir(exist_ok=True)
    bundle = folder / "bundle"
    if not bundle.exists():
        make_bundle(bundle)
    source = {"kind": "folder", "path": folder / "in", "settle_ms": 0, "poll_ms": 1, "once": True}
    values = {
        "source": source,
        "recipes": {"default": {"main": {"bundle": bundle}}},
        "data_dir": folder / "data",
        "deadline_ms": 60_000,
        "heartbeat_ms": 50,
    }
    return StationConfig.model_validate(values | changes)


def fill(folder: Path, reds: Sequence[int] = (51, 153, 255)) -> None:
    """Put parts into the watched folder, in this order."""
    for second, red in enumerate(reds, 1):
        os.utime(put(folder / "in", f"{red}.png", encoded(red, (30, 70))), (second, second))


class Recorder:
    """An output that keeps what it gets, or is down."""

    name = "recorder"
    batch = 10
    from_start = True

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.events: list[Event] = []
        self.states: list[StationState] = []
        self.closed = False

    def connect(self) -> None:
        """Refuse when it is down."""
        if self.down:
            raise OutputDown("the recorder is down")

    def deliver(self, events: Sequence[Event]) -> int:
        """Keep the events."""
        self.events += events
        return len(events)

    def beat(self, status: StationStatus) -> None:
        """Keep the state."""
        self.states.append(status.state)

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


def test_real_bundle_judges_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A station with a gated bundle writes one JSON line per part, as it stands in the record."""
    config = configure(tmp_path)
    fill(tmp_path)
    status = serve(config)
    assert status.since_start == {"PASS": 1, "REVIEW": 1, "REJECT": 1, "FAULT": 0}
    events = [Event.model_validate_json(line) for line in capsys.readouterr().out.splitlines()]
    assert events == recorded(config)
    scores = [event.deciding.score for event in events]
    assert scores == pytest.approx([0.2, 0.6, 1.0], abs=1e-6)
    assert events[0].deciding.bundle_id == verify_bundle(tmp_path / "bundle")
    kept = (config.data_dir / "pictures").rglob("*-main.png")
    assert {path.parent.name for path in kept} == {"REVIEW", "REJECT"}


def test_fault_comes_at_the_deadline_whatever_a_decoder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its event is durable and signalled, parts after it are judged, and the station can end."""
    back = Flag()

    def decode(content: bytes, name: str) -> Rgb:
        if name == "51.png":
            back.wait()
        return decode_image(content, name)

    monkeypatch.setattr(decoding, "decode_image", decode)
    config, recorder = configure(tmp_path, deadline_ms=2_000), Recorder()
    fill(tmp_path)
    try:
        status = serve(config, [recorder])
        assert not back.is_set()
    finally:
        back.set()
    assert status.since_start == {"PASS": 0, "REVIEW": 1, "REJECT": 1, "FAULT": 1}
    late = recorded(config)[0]
    assert recorder.events[0] == late
    assert late.reason.startswith("51.png: not decoded within the deadline")
    (kept,) = (config.data_dir / "pictures").rglob(late.frames[0].image)
    assert kept.read_bytes() == (tmp_path / "in" / "51.png").read_bytes()


def test_outputs_get_every_event_state_and_end(tmp_path: Path):
    """An output hears READY, all events in order, then STOPPED, and is closed."""
    fill(_ready(tmp_path))
    recorder = Recorder()
    serve(configure(tmp_path, outputs=()), [recorder])
    assert [event.sequence for event in recorder.events] == [1, 2, 3]
    assert recorder.states[-1] is StationState.STOPPED
    assert recorder.closed


def _ready(folder: Path) -> Path:
    configure(folder)
    return folder


def test_output_that_was_down_gets_what_it_missed(tmp_path: Path):
    """A later process goes on where the output stands in the outbox; nothing twice."""
    fill(_ready(tmp_path))
    config = configure(tmp_path, outputs=())
    down = Recorder(down=True)
    serve(config, [down])
    assert down.events == []
    late = Recorder()
    serve(config, [late])
    assert [event.part_id for event in late.events] == ["51", "153", "255"]
    again = Recorder()
    fill(tmp_path, (60,))
    serve(config, [again])
    assert [event.part_id for event in again.events] == ["60"]


def test_output_that_never_comes_back_ends_the_station(tmp_path: Path):
    """The record keeps the event; the station says why it ends."""

    class Gone(Recorder):
        def deliver(self, events: Sequence[Event]) -> int:
            """Be gone."""
            raise OutputGone("nobody reads the recorder any more")

    source = {"kind": "folder", "path": tmp_path / "in", "settle_ms": 0, "poll_ms": 1}
    fill(_ready(tmp_path))
    config = configure(tmp_path, outputs=(), source=source)
    with pytest.raises(StationError, match="nobody reads the recorder any more"):
        serve(config, [Gone()])
    assert recorded(config)


def test_bundle_without_gate_judges_nothing(tmp_path: Path):
    """A bundle that never saw its gate cannot be opened, and no part gets an event."""
    make_bundle(tmp_path / "bundle", gated=False)
    config = configure(tmp_path)
    fill(tmp_path)
    with pytest.raises(GateRefused, match="never put to the gate"):
        serve(config)
    assert recorded(config) == []


def test_cpu_that_computes_other_maps_judges_nothing(tmp_path: Path):
    """The golden frames are looked at before the first part; what differs opens no station."""
    make_bundle(tmp_path / "bundle", golden_red=60)
    config = configure(tmp_path)
    fill(tmp_path)
    with pytest.raises(BundleError, match=r"1 of 1 golden .*17\.6"):
        serve(config)
    assert recorded(config) == []


def test_golden_part_that_is_judged_otherwise_releases_nothing(tmp_path: Path):
    """The start-of-shift check names the part; its record says what was found and wanted."""
    put(tmp_path / "golden" / "good", "bright.png", encoded(240, (30, 70)))
    put(tmp_path / "golden" / "defect", "red.png", encoded(250, (30, 70)))
    make_bundle(tmp_path / "bundle")
    recipe = {"bundle": tmp_path / "bundle", "golden_parts": tmp_path / "golden"}
    config = configure(tmp_path, recipes={"default": {"main": recipe}})
    fill(tmp_path)
    with pytest.raises(BundleError, match=r"bright\.png: .*REJECT.*wanted .*PASS"):
        serve(config)
    assert recorded(config) == []
    found = read_record(config.data_dir / SELFTEST_FILE, SelftestRecord)
    assert [check.passed for check in found.checks] == [True, False, True]


def test_station_believes_the_keys_of_its_machine_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a machine that signed nothing, nothing runs until a key is named."""
    config = configure(tmp_path)
    named = own_keys()
    serve(config)
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "another machine"))
    with pytest.raises(ConfigError, match="trusted_keys is empty and this machine has no keys"):
        serve(config)
    serve(config.model_copy(update={"trusted_keys": named[:4]}))


def free_port() -> int:
    """Give a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_station_process_answers_judges_pushed_parts_and_ends_on_sigterm(tmp_path: Path):
    """A real process: /healthz, POST /frames with its verdict, metrics, a clean end."""
    port, token = free_port(), "sixteen-or-more-characters"
    (tmp_path / "push.token").write_text(token)
    config = configure(
        tmp_path,
        source={"kind": "push", "token_file": tmp_path / "push.token"},
        web={"port": port},
        outputs=({"kind": "csv", "path": tmp_path / "events.csv"},),
    )
    command = (
        "import sys; from inspection.station.service import serve; "
        "from inspection.station.settings import StationConfig; "
        "print(serve(StationConfig.model_validate_json(sys.argv[1])).model_dump_json())"
    )
    arguments = [sys.executable, "-c", command, config.model_dump_json()]
    with (
        subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8)
        ) as client,
    ):
        try:
            eventually(lambda: client.get("/healthz").json()["state"] == "READY")
            for red, verdict in ((51, "PASS"), (255, "REJECT")):
                reply = client.post(
                    "/frames",
                    params={"part_id": f"part {red}"},
                    content=encoded(red, (30, 70)),
                    headers={"Content-Type": "image/png", "Authorization": f"Bearer {token}"},
                    timeout=20,
                )
                assert reply.status_code == 200, reply.text
                assert reply.json()["verdict"] == verdict
            assert "inspection_latency_seconds_count 2.0" in client.get("/metrics").text
        finally:
            process.send_signal(signal.SIGTERM)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    status = StationStatus.model_validate_json(shown)
    assert status.state is StationState.STOPPED
    assert [event.part_id for event in recorded(config)] == ["part 51", "part 255"]
    assert len((tmp_path / "events.csv").read_text().splitlines()) == 3


def test_threshold_record_is_in_force_within_a_moment(tmp_path: Path):
    """A signed record changes verdicts of a running station; no bundle is touched."""
    folder = tmp_path / "thresholds"
    folder.mkdir()
    bundle = make_bundle(tmp_path / "bundle")
    config = configure(tmp_path, updates={"thresholds": folder, "poll_ms": 50}, outputs=())
    fill(tmp_path, (100,))
    serve(config)
    band = Band(review_above=0.1, reject_above=0.2)
    set_thresholds(
        folder,
        ThresholdRecord(
            bundle_id=verify_bundle(bundle), band=band, who="w", why="y", when=datetime.now(UTC)
        ),
        read_card(bundle),
    )
    fill(tmp_path, (101,))
    serve(config)
    assert [event.verdict for event in recorded(config)] == [Verdict.PASS, Verdict.REJECT]


def test_failure_beside_the_loop_ends_the_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A thread that dies is never overlooked."""
    fill(_ready(tmp_path))
    source = {"kind": "folder", "path": tmp_path / "in", "settle_ms": 0, "poll_ms": 1}
    config = configure(tmp_path, source=source, updates={"poll_ms": 50})

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect in the updates")

    monkeypatch.setattr("inspection.station.recipes.updates.BundleUpdates.run", fail)
    with pytest.raises(ZeroDivisionError, match="a defect in the updates"):
        serve(config, [Recorder()])


def test_supervisor_hears_ready_watchdog_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Systemd's sd_notify protocol, over a real datagram socket."""
    address = str(tmp_path / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        supervisor.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)

        def listen() -> None:
            while "STOPPING=1" not in heard:
                heard.append(supervisor.recv(100).decode())

        listener = Thread(target=listen)
        listener.start()
        slow = {"kind": "folder", "path": tmp_path / "in", "once": True, "settle_ms": 300}
        fill(_ready(tmp_path))
        serve(configure(tmp_path, source=slow, outputs=()))
        listener.join()
    assert heard.count("READY=1") == 1
    assert "WATCHDOG=1" in heard
    assert json.loads((tmp_path / "data" / "status.json").read_text())["state"] == "STOPPED"
