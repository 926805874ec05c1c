"""Slow clients, 2,000 at once, at the hub's and at a station's port: who means well is answered.

The clients are a process of their own, so that their sockets are not the service's; they come from
eight addresses, and none has a token. A quarter each sends half a head, sends a body that never
ends, asks and never reads, and says nothing at all.
"""

import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import httpx

from inspection.bench.faults.hubs import running_plant
from inspection.bench.faults.network import HOST, free_port
from inspection.bench.faults.process import PRELOADED, Station, wait_for
from inspection.bench.faults.scenario import Finding, Row, Scene
from inspection.bench.frame import Goal
from inspection.bench.redness import BAND, encode_part, make_part
from inspection.bench.soak import resident_bytes
from inspection.core.decision import Verdict, decide
from inspection.core.limits import MB

ANSWER_S = 5.0  # within which who means well has an answer
PAUSE_S = 0.05  # between two of their requests
CALM_S = 1.0  # they ask before and after the siege, too
MOST_LOG_MB = 10.0
DEADLINE_MS = 1_000
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)]  # of the slow clients
TOKEN = "a-token-of-the-bench"  # noqa: S105 - of a station that lives for seconds
BUFFER_BYTES = 4_096
MANY = 200  # requests a client sends and never reads the answers of
BUSY = {408, 413, 429, 503}  # what a service that is beset may answer
HUB, STATION = "slow clients at the hub", "slow clients at the station"


def beset_hub(scene: Scene) -> Finding:
    """Beset a hub while a station sends its events and somebody asks for its health."""
    with (
        running_plant(scene.work / "hub") as plant,
        Station(scene.work / "station", scene.bundle, outputs=[plant.output("station-1")]) as well,
    ):
        well.start()
        siege = _Siege(plant.process.port, "/v1/events", "/healthz", plant.process.pid)
        log = scene.work / "hub" / "hub.log"
        answers = siege.play(scene, partial(_ask_health, plant.process.url, well), log)
        well.wait(lambda: _waiting(well) == 0, "all events at the hub")
        ledger = well.finish()
        missing = len({event.event_id for event in well.events()} - set(plant.ids()))
    goals = (
        *answers.goals(HUB),
        Goal.at_most(f"{HUB}: events the hub lacks", 0, missing, "events"),
        *ledger.goals(HUB),
    )
    return Finding(goals, answers.rows(HUB))


def beset_station(scene: Scene) -> Finding:
    """Beset a station's port while parts come over it."""
    port = free_port()
    token_file = scene.work / "push.token"
    token_file.touch(0o600)
    token_file.write_text(TOKEN, encoding="ascii")
    with Station(
        scene.work / "station",
        scene.bundle,
        source={"kind": "push", "token_file": token_file},
        web={"port": port},
        deadline_ms=DEADLINE_MS,
    ) as station:
        station.start()
        url = f"http://{HOST}:{port}"
        station.wait(lambda: _is_ready(url), "READY")
        push = _Pusher(url)
        siege = _Siege(port, "/frames?part_id=slow", "/metrics", station.pid)
        log = scene.work / "station" / "station.log"
        answers = siege.play(scene, push, log)
        station.stop()
        events = station.events()
        ledger = station.account(sorted({*push.judged, *(event.part_id for event in events)}))
    judged = [event for event in events if event.verdict is not Verdict.FAULT]
    late = sum(event.latency_ms > DEADLINE_MS for event in judged)
    released = sum(
        event.verdict is Verdict.PASS and push.expected(event.part_id) is not Verdict.PASS
        for event in events
    )
    goals = (
        *answers.goals(STATION),
        Goal.at_most(f"{STATION}: defects released", 0, released, "parts"),
        Goal.at_most(f"{STATION}: verdicts beyond the deadline", 0, late, "parts"),
        *ledger.goals(STATION),
    )
    return Finding(
        goals, (*answers.rows(STATION), (f"{STATION}: FAULT parts", len(events) - len(judged)))
    )


@dataclass
class Answers:
    """What who means well was told while the service was beset."""

    seconds: list[float] = field(default_factory=list)
    """Of each request, to its answer or to its end without one."""
    given: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """Requests whose connection was ended unanswered, so that they were sent once more."""
    held: int = 0
    """Slow connections that were there at once."""
    left: int = 0
    """Of them, still there at the end."""
    grown_mb: float = 0
    """Memory of the service, at the end above that before."""
    log_mb: float = 0

    def goals(self, name: str) -> Iterator[Goal]:
        """Hold it against what is promised."""
        silent = sum(count for told, count in self.given.items() if not told.isdigit())
        good = sum(count for told, count in self.given.items() if told.startswith("2"))
        wrong = self.given.total() - silent - good
        wrong -= sum(self.given[str(status)] for status in BUSY)
        longest_s = max(self.seconds)
        yield Goal.at_most(f"{name}: requests without an answer", 0, silent, "requests")
        yield Goal.at_most(f"{name}: answers that do not say why", 0, wrong, "requests")
        yield Goal.at_least(f"{name}: requests that were served", 1, good, "requests")
        yield Goal.at_most(f"{name}: longest wait for an answer", ANSWER_S, longest_s, "s")
        yield Goal.at_most(f"{name}: log grew by", MOST_LOG_MB, self.log_mb, "MB")

    def rows(self, name: str) -> list[Row]:
        """Show what was seen."""
        told = ", ".join(f"{told}: {count:,}" for told, count in sorted(self.given.items()))
        return [
            (f"{name}: connections made", self.held),
            (f"{name}: of them there at the end", self.left),
            (f"{name}: answers", told),
            (f"{name}: requests sent once more", self.again),
            (f"{name}: memory grew by, MB", self.grown_mb),
        ]


@dataclass(frozen=True)
class _Siege:
    """Slow clients of one port."""

    port: int
    posts: str
    """Where their bodies go."""
    gets: str
    """What is asked and never read."""
    pid: int
    """Of the service."""

    def play(self, scene: Scene, ask: Callable[[], str], log: Path) -> Answers:
        """Ask over and over, before, while and after the service is beset."""
        answers = Answers()
        grown, written = resident_bytes(self.pid), _size(log)
        _ask_for(CALM_S, ask, answers)
        with _besetting(self, scene.options.slow_clients) as counts:
            while not counts.ready.is_set():
                _ask_for(PAUSE_S, ask, answers)
            _ask_for(scene.options.siege_s, ask, answers)
            answers.held = counts.held.value
            counts.over.set()
            wait_for(counts.done.is_set, "the count of the connections that are left")
            answers.left = counts.left.value
            answers.grown_mb = (resident_bytes(self.pid) - grown) / MB
        _ask_for(CALM_S, ask, answers)
        answers.log_mb = (_size(log) - written) / MB
        return answers


class _Counts:
    """What the process of the slow clients and this one tell each other."""

    def __init__(self) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.ready, self.over, self.done = context.Event(), context.Event(), context.Event()
        self.held, self.left = context.Value("i", 0), context.Value("i", 0)


@contextmanager
def _besetting(siege: _Siege, clients: int) -> Iterator[_Counts]:
    counts = _Counts()
    process = get_context("forkserver").Process(
        target=beset, args=(siege.port, siege.posts, siege.gets, clients, counts), daemon=True
    )
    process.start()
    try:
        yield counts
    finally:
        process.kill()
        process.join()


def beset(port: int, posts: str, gets: str, clients: int, counts: _Counts) -> None:
    """Be the slow clients, until told that it is over."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    head = f"POST {posts} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    words = (
        b"GET / HTTP/1.1\r\nX-slow: ",
        f"{head}Content-Length: 1000000\r\n\r\nx".encode(),
        f"GET {gets} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * MANY,
        b"",
    )
    held = [
        _connect(
            ADDRESSES[number % len(ADDRESSES)], port, words[number // len(ADDRESSES) % len(words)]
        )
        for number in range(clients)
    ]
    open_ = [one for one in held if one is not None]
    counts.held.value = len(open_)
    counts.ready.set()
    counts.over.wait()
    counts.left.value = sum(map(_is_open, open_))
    counts.done.set()
    time.sleep(ANSWER_S)  # until this process is killed


def _connect(source: str, port: int, words: bytes) -> socket.socket | None:
    """Connect and send what is to be sent as far as it goes; none where nobody took it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    client.settimeout(ANSWER_S)
    try:
        client.bind((source, 0))
        client.connect((HOST, port))
    except OSError:
        client.close()
        return None
    client.settimeout(0)
    with suppress(OSError):
        client.send(words)
    return client


def _is_open(client: socket.socket) -> bool:
    """Say whether the other side still holds a connection; reads what it has sent."""
    try:
        while client.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _ask_for(span_s: float, ask: Callable[[], str], answers: Answers) -> None:
    until_s = time.monotonic() + span_s
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        answers.given[_told(ask, began_s + ANSWER_S, answers)] += 1
        answers.seconds.append(time.monotonic() - began_s)
        time.sleep(PAUSE_S)


def _told(ask: Callable[[], str], until_s: float, answers: Answers) -> str:
    """Ask until there is an answer: who is sent away asks again, as couriers and monitors do."""
    while True:
        try:
            return ask()
        except httpx.HTTPError as error:
            if time.monotonic() >= until_s:
                return type(error).__name__
            answers.again += 1
            time.sleep(PAUSE_S)


def _ask_health(url: str, station: Station) -> str:
    """Ask a hub, and let a station have one part more for it."""
    answer = httpx.get(f"{url}/healthz", timeout=ANSWER_S)
    station.put(1)
    return str(answer.status_code)


class _Pusher:
    """Brings one part after the other over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._part = 0  # the one that has no answer yet
        self.judged: list[str] = []
        """Parts that were answered with their event."""

    def __call__(self) -> str:
        name, content = encode_part(self._part)
        part_id, suffix = Path(name).stem, Path(name).suffix.strip(".").replace("jpg", "jpeg")
        answer = httpx.post(
            f"{self._url}/frames",
            params={"part_id": part_id},
            content=content,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": f"image/{suffix}"},
            timeout=ANSWER_S,
        )
        self._part += 1
        if answer.is_success:
            self.judged.append(part_id)
        return str(answer.status_code)

    @staticmethod
    def expected(part_id: str) -> Verdict:
        """Give the verdict that a part should have."""
        return decide(int(make_part(int(part_id))[0, 0, 0]) / 255, BAND)


def _is_ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=1).is_success
    return False


def _waiting(station: Station) -> int:
    """Give how many events of a station wait for the hub."""
    return sum(out.waiting for out in station.status().outputs if out.name == "hub")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
