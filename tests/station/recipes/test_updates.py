"""Newer bundles find their way into a running station; whatever is wrong with one is said."""

import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.bundles import graph
from inspection.bundles.seal import SUMS, seal_bundle, verify_bundle, write_gate
from inspection.bundles.signing import KEYS_VARIABLE, own_keys
from inspection.core.decision import Verdict
from inspection.core.records import hash_file
from inspection.station.recipes import fetching, updates
from inspection.station.recipes.opening import FATAL, open_recipes
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.standing import COPIES, STANDINGS
from inspection.station.recipes.updates import BundleUpdates
from tests.station.bundles import gate_of, make_bundle
from tests.station.recipes.hub import running_hub
from tests.station.recipes.test_recipes import configure, score, seen, swapped

NEVER = Flag()


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


class Bench:
    """A station of one recipe, without its loop, that looks for bundles on a stick."""

    def __init__(self, folder: Path, place: str | None = None, **changes: object) -> None:
        if not (folder / "bundle").exists():
            make_bundle(folder / "bundle")
        self.stick, self.changes = folder / "stick", changes
        config = configure(folder, bundles=[place or str(self.stick)], poll_ms=50)
        self.config = config.model_validate(config.model_dump() | changes)
        self.recipes: Recipes = open_recipes(self.config)
        self.updates = BundleUpdates(self.config, self.recipes)

    def look(self) -> float:
        """Look once, and give what a part scores after it."""
        self.updates.look(NEVER)
        return score(self.recipes)

    def look_until(self, wanted: Callable[[], bool]) -> None:
        """Look again and again, for at most ten seconds, until something is so."""
        until = time.monotonic() + 10
        while not wanted() and time.monotonic() < until:
            self.updates.look(NEVER)
            time.sleep(0.01)
        assert wanted(), self.note

    @property
    def note(self) -> str:
        """What the station's page says of the last update."""
        return self.recipes.statuses()[0].note

    @property
    def copies(self) -> list[str]:
        """The folders among the station's own copies."""
        return sorted(path.name for path in (self.config.data_dir / COPIES).glob("*"))


def test_newer_bundle_on_a_stick_takes_over_on_trial(tmp_path: Path):
    """It is copied before it judges, so the stick may go; the one before may return."""
    bench = Bench(tmp_path)
    assert bench.look() == 0.2
    newer = verify_bundle(make_bundle(bench.stick / "newer", gain=2, day=1))
    assert bench.look() == 0.4
    shutil.rmtree(bench.stick)
    assert (bench.look(), bench.copies) == (0.4, [newer])
    (status,) = bench.recipes.statuses()
    assert (status.bundle_id, status.trial, status.name) == (newer, True, "redness")


def test_newest_of_several_is_taken(tmp_path: Path):
    """A stick full of bundles gives the newest one of the name, once."""
    bench = Bench(tmp_path)
    for day, name in [(2, "redness"), (3, "redness"), (1, "redness"), (9, "other")]:
        make_bundle(bench.stick / f"{name}{day}", gain=1 + day / 10, day=day, name=name)
    assert bench.look() == 0.26
    assert bench.look() == 0.26
    assert len(bench.copies) == 1


@pytest.mark.parametrize("day", [-1, 0], ids=["older", "of the same time"])
def test_bundle_that_is_not_newer_stays_where_it_is(tmp_path: Path, day):
    """An older bundle on a stick is not even copied."""
    bench = Bench(tmp_path)
    make_bundle(bench.stick / "a", gain=2, day=day)
    assert (bench.look(), bench.copies, bench.note) == (0.2, [], "")


def test_one_trial_at_a_time(tmp_path: Path):
    """A still newer bundle waits until the one on trial has shown what it is worth."""
    bench = Bench(tmp_path, updates={"bundles": [str(tmp_path / "stick")], "trial_parts": 1})
    make_bundle(bench.stick / "a", gain=2, day=1)
    assert bench.look() == 0.4
    make_bundle(bench.stick / "b", gain=3, day=2)
    assert bench.look() == 0.4
    bench.recipes.judged(seen(bench.recipes))
    assert bench.look() == 0.6


def test_copies_of_bundles_that_cannot_return_are_deleted(tmp_path: Path):
    """Of all bundles that came only the one in force and the one before it stay."""
    changes = {"updates": {"bundles": [str(tmp_path / "stick")], "trial_parts": 1}}
    bench, ids = Bench(tmp_path, **changes), []
    for day in (1, 2, 3):
        ids.append(verify_bundle(make_bundle(bench.stick / str(day), gain=1 + day, day=day)))
        bench.look()
        bench.recipes.judged(seen(bench.recipes))
    (bench.config.data_dir / COPIES / "mine").mkdir()
    (bench.config.data_dir / COPIES / f".{'a' * 64}.partial").mkdir()
    bench.updates.look(NEVER)
    assert bench.copies == sorted(["mine", *ids[1:]])


def test_bundle_its_gate_refused_is_left_until_the_gate_says_otherwise(tmp_path: Path):
    """What a person has to mend is neither copied again nor kept; once it is mended it is taken."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1)
    bundle_id, why = verify_bundle(stick), "the gate refused it (recall 0.2"
    write_gate(stick, gate_of(bundle_id, passed=False))
    assert (bench.look(), bench.copies) == (0.2, [])
    assert bench.note.startswith(f"{bundle_id[:12]} not taken: ")
    (stick / "model.xml").rename(tmp_path / "model.xml")  # missed if it were copied again
    for _ in range(3):
        bench.updates._pauses.clear()
        assert (bench.look(), bench.copies, why in bench.note) == (0.2, [], True)
    (tmp_path / "model.xml").rename(stick / "model.xml")
    write_gate(stick, gate_of(bundle_id))
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_bundle_of_a_stranger_is_left_until_its_signature_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A station that names keys takes no update signed by another; signed anew, it does."""
    own = tuple(key for key in own_keys() if not key.startswith("backup:"))
    bench = Bench(tmp_path, trusted_keys=own)
    with monkeypatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, str(tmp_path / "stranger"))
        stick = make_bundle(bench.stick / "a", gain=2, day=1)
    assert (bench.look(), bench.copies) == (0.2, [])
    assert "which is not among the trusted keys" in bench.note
    bundle_id = hash_file(stick / SUMS)
    seal_bundle(stick)
    write_gate(stick, gate_of(bundle_id))
    bench.look_until(lambda: score(bench.recipes) == 0.4)
    assert bench.copies == [bundle_id]


def test_bundle_that_can_never_be_copied_is_left_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No gate makes a bundle of what is too large for one, so it is not fetched again."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1)
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "MOST_BYTES", 100)
        assert bench.look() == 0.2
    bundle_id = verify_bundle(stick)
    write_gate(stick, gate_of(bundle_id))
    bench.updates._pauses.clear()
    assert bench.look() == 0.2
    assert bench.note.startswith(f"{bundle_id[:12]} not taken: ")


@pytest.mark.parametrize("name", ["gate.json", "signature.json"])
def test_bundle_that_was_half_copied_to_the_stick_is_taken_once_it_is_whole(
    tmp_path: Path, name: str
):
    """A file that is being written just now shuts nothing out, and costs no second copy."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1)
    whole = (stick / name).read_bytes()
    (stick / name).write_bytes(whole[: len(whole) // 2])
    assert bench.look() == 0.2
    assert re.match(rf"({hash_file(stick / SUMS)[:12]} )?not taken( yet)?: ", bench.note)
    assert "damaged" in bench.note
    if name == "gate.json":
        (stick / "model.xml").unlink()  # was copied before
    (stick / name).write_bytes(whole)
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_copy_that_was_damaged_here_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A bit that falls over between the look at a copy and its opening is nobody's fault."""
    bench = Bench(tmp_path)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))

    def spoil(_: str) -> None:
        with (bench.config.data_dir / COPIES / bundle_id / "model.bin").open("ab") as stream:
            stream.write(b"x")

    with monkeypatch.context() as patch:
        patch.setattr(bench.recipes, "begin", spoil)
        assert bench.look() == 0.2
    assert "'model.bin' was changed" in bench.note
    bench.look_until(lambda: score(bench.recipes) == 0.4)
    assert not bench.recipes.refused(bundle_id)


def test_bundle_is_taken_once_it_is_gated(tmp_path: Path):
    """A bundle exported into the watched folder waits for its gate, which may come later."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1, gated=False)
    assert bench.look() == 0.2
    assert "not taken yet: " in bench.note
    assert "run inspection gate" in bench.note
    write_gate(stick, gate_of(verify_bundle(stick)))
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_bundle_is_taken_once_the_stick_gives_it_whole(tmp_path: Path):
    """A stick that was pulled while it was copied, and comes back, gives the bundle after all."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1)
    (stick / "model.xml").rename(tmp_path / "model.xml")
    assert bench.look() == 0.2
    assert "model.xml: cannot be read (No such file or directory)" in bench.note
    (tmp_path / "model.xml").rename(stick / "model.xml")
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_damaged_bundle_is_taken_once_it_is_copied_again(tmp_path: Path):
    """A file spoilt on the stick is said; the same bundle, sound, is taken."""
    bench = Bench(tmp_path)
    stick = make_bundle(bench.stick / "a", gain=2, day=1)
    sound = (stick / "model.bin").read_bytes()
    (stick / "model.bin").write_bytes(sound + b"x")
    assert bench.look() == 0.2
    assert "'model.bin' is not what SHA256SUMS says; copy the bundle again" in bench.note
    (stick / "model.bin").write_bytes(sound)
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_bundle_this_cpu_computes_otherwise_is_refused_for_good(tmp_path: Path):
    """Its golden maps do not come out: it never judges here, after a restart neither."""
    bench = Bench(tmp_path)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1, golden_red=60))
    assert (bench.look(), bench.copies) == (0.2, [])
    assert bench.note.startswith(f"{bundle_id[:12]} refused: ")
    assert "computes 1 of 1 golden maps otherwise" in bench.note
    bench.look()
    again = Bench(tmp_path)
    assert (again.recipes.refused(bundle_id), again.look(), again.copies) == (True, 0.2, [])


def test_bundle_that_misjudges_golden_parts_is_refused_for_good(tmp_path: Path):
    """The start-of-shift check is made with the bundle before it may judge a part."""
    for label, red in (("good", 60), ("defect", 250)):
        (tmp_path / "known" / label).mkdir(parents=True)
        Image.new("RGB", (90, 40), (red, 0, 0)).save(tmp_path / "known" / label / "a.png")
    recipe = {"bundle": tmp_path / "bundle", "golden_parts": tmp_path / "known"}
    bench = Bench(tmp_path, recipes={"default": {"main": recipe}})
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=3, day=1))
    assert (bench.look(), bench.recipes.refused(bundle_id), bench.copies) == (0.2, True, [])
    assert "a.png: REVIEW; wanted PASS" in bench.note
    make_bundle(bench.stick / "b", gain=2, day=2)
    assert bench.look() == 0.4


def test_card_that_is_not_what_was_listed_is_left_and_said(tmp_path: Path):
    """A hub cannot pass an old bundle off as a new one."""
    with running_hub() as hub:
        bench = Bench(tmp_path, hub.address)
        old = make_bundle(tmp_path / "old", gain=2, day=-5)
        hub.lend(old, created_at=gate_of("0" * 64).origin.created_at.replace(year=2030))
        assert bench.look() == 0.2
        for source in bench.updates._sources:
            source.close()
    assert "its card says 'redness' of 2025-02-24 00:00 UTC; wanted a newer 'redness'" in bench.note


def test_hub_gives_a_newer_bundle_in_spite_of_an_interruption(tmp_path: Path):
    """A download that breaks off goes on later, beside the parts, until the bundle judges."""
    with running_hub() as hub:
        token = tmp_path / "token"
        token.write_text("secret")
        outputs = [{"kind": "hub", "url": hub.address, "token_file": token}]
        bench = Bench(tmp_path, hub.address, outputs=outputs)
        hub.lend(make_bundle(tmp_path / "newer", gain=2, day=1))
        hub.breaks_off_at = "model.bin"
        assert bench.look() == 0.2
        assert "model.bin: no answer (RemoteProtocolError" in bench.note
        hub.sends = [{}]  # no list: the hub is not itself
        bench.look()
        hub.breaks_off_at, hub.sends, hub.asked = "", None, []
        bench.look_until(lambda: score(bench.recipes) == 0.4)
        assert not any(path.endswith("/card.json") for path in hub.asked)  # came before
        for source in bench.updates._sources:
            source.close()
    assert hub.tokens == {"Bearer secret"}


def test_source_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, caplog):
    """One dead hub is logged once; a stick beside it still gives its bundle."""
    with running_hub() as hub:
        address = hub.address
    stick = make_bundle(tmp_path / "stick", gain=2, day=1)
    bench = Bench(tmp_path, updates={"bundles": [address, str(stick)]})
    assert (bench.look(), bench.look()) == (0.4, 0.4)
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert sum("ConnectError" in reason for reason in reasons) == 1
    for source in bench.updates._sources:
        source.close()


def test_full_disk_leaves_the_station_as_it_is_until_there_is_room(tmp_path: Path):
    """A copy that cannot be written is made later; nothing of it is left meanwhile."""
    bench = Bench(tmp_path)
    make_bundle(bench.stick / "a", gain=2, day=1)
    bench.config.data_dir.write_text("no folder")
    assert bench.look() == 0.2
    assert "cannot be written" in bench.note
    bench.config.data_dir.unlink()
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_full_disk_is_no_attempt_at_a_bundle(tmp_path: Path):
    """What cannot be noted is not tried, however often, and does not count against the bundle."""
    bench = Bench(tmp_path)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))
    (bench.config.data_dir / STANDINGS).mkdir(parents=True)
    for _ in range(5):
        bench.updates._pauses.clear()
        assert bench.look() == 0.2
    assert "recipes.json: cannot be written" in bench.note
    assert (bench.recipes.attempts(bundle_id), bench.copies) == (0, [bundle_id])
    (bench.config.data_dir / STANDINGS).rmdir()
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_bundle_that_runs_out_of_memory_is_tried_thrice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An attempt without an end never stops the station, and the third is the last."""
    bench, attempts = Bench(tmp_path), []

    def starve(*_: object, **__: object) -> None:
        attempts.append(1)
        raise MemoryError("no room for the graph")

    monkeypatch.setattr(updates, "open_tested", starve)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))
    bench.look_until(lambda: bench.recipes.refused(bundle_id))
    assert (len(attempts), bench.note) == (3, f"{bundle_id[:12]} refused: {FATAL}")
    assert (bench.look(), bench.copies) == (0.2, [])


def starve(*_: object) -> None:
    """Fail as OpenVINO does when memory is short."""
    raise RuntimeError("[CPU] bad allocation")


def lose_the_disk(*_: object) -> None:
    """Fail as a disk does now and then."""
    raise OSError(5, "Input/output error")


PASSING = {
    "memory short for the graph": ("graph.compile_graph", starve, "cannot load it ([CPU] bad all"),
    "memory short for a map": ("bundle.map_tiles", starve, "makes no map ([CPU] bad allocation)"),
    "golden maps not read": ("bundle.parse_arrays", lose_the_disk, "no selftest ([Errno 5] Input"),
}


@pytest.mark.parametrize(("name", "fail", "found"), PASSING.values(), ids=PASSING)
def test_passing_disturbance_bans_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fail, found: str
):
    """What lies at the machine at this moment is tried again, and the bundle judges."""
    bench = Bench(tmp_path)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))
    with monkeypatch.context() as patch:
        patch.setattr(f"inspection.bundles.{name}", fail)
        bench.updates.look(NEVER)
    assert score(bench.recipes) == 0.2
    assert bench.note.startswith(f"{bundle_id[:12]} not taken yet: ")
    assert found in bench.note
    bench.look_until(lambda: score(bench.recipes) == 0.4)


def test_graph_that_never_loads_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """OpenVINO says no difference between no graph and no memory, so the third time decides."""
    bench = Bench(tmp_path)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))
    monkeypatch.setattr("inspection.bundles.graph.compile_graph", starve)
    bench.look_until(lambda: bench.recipes.refused(bundle_id))
    assert bench.note.startswith(f"{bundle_id[:12]} refused: ")
    assert "model.xml: OpenVINO cannot load it" in bench.note
    assert bench.copies == []


def test_update_that_cannot_be_opened_at_a_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The bundle before judges meanwhile, and no stick is needed to have the newer one back."""
    _, recipes = swapped(tmp_path)
    new_id = recipes.of("default")["main"].bundle_id
    fails, compile_graph = iter([starve]), graph.compile_graph
    with monkeypatch.context() as patch:
        patch.setattr(graph, "compile_graph", lambda *one: next(fails, compile_graph)(*one))
        bench = Bench(tmp_path)
    assert score(bench.recipes) == 0.2
    assert "bad allocation" in bench.note
    assert (bench.look(), bench.copies) == (0.4, [new_id])


def test_failed_trial_deletes_the_copy_and_never_takes_it_again(tmp_path: Path):
    """The previous bundle returns, and the stick that still holds the new one changes nothing."""
    bench = Bench(tmp_path, updates={"bundles": [str(tmp_path / "stick")], "trial_faults": 1})
    make_bundle(bench.stick / "a", gain=2, day=1)
    assert bench.look() == 0.4
    bench.recipes.judged(seen(bench.recipes, verdict=Verdict.FAULT))
    assert (score(bench.recipes), bench.look(), bench.copies) == (0.2, 0.2, [])
    again = Bench(tmp_path)
    assert (again.look(), again.note) == (0.2, bench.note)


def test_thread_takes_an_update_and_ends_with_a_farewell(tmp_path: Path):
    """Run beside a line, it needs nobody; at the end no attempt is left open."""
    bench, stop = Bench(tmp_path), Flag()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.updates.run, stop)
        make_bundle(tmp_path / "made", gain=2, day=1)
        bench.stick.mkdir()
        (tmp_path / "made").rename(bench.stick / "a")
        until = time.monotonic() + 10
        while score(bench.recipes) != 0.4 and time.monotonic() < until:
            time.sleep(0.02)
        stop.set()
        running.result(timeout=10)
    left = json.loads((bench.config.data_dir / STANDINGS).read_text())
    assert (score(bench.recipes), left["attempts"]) == (0.4, {})


def test_thread_outlives_whatever_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    """It is noted and logged once, and the bundle is taken by a later look."""
    bench, stop = Bench(tmp_path), Flag()
    make_bundle(bench.stick / "a", gain=2, day=1)

    def fail() -> None:
        raise PermissionError(13, "Permission denied")

    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patch:
        patch.setattr(bench.recipes, "settle", fail)
        running = pool.submit(bench.updates.run, stop)
        said = "no look for updates: PermissionError: [Errno 13] Permission denied"
        for wanted in (lambda: bench.note == said, lambda: score(bench.recipes) == 0.4):
            until = time.monotonic() + 10
            while not wanted() and not running.done() and time.monotonic() < until:
                time.sleep(0.02)
            patch.undo()
        stop.set()
        running.result(timeout=10)
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert (score(bench.recipes), reasons.count(said), bench.note != said) == (0.4, 1, True)


def test_error_nobody_foresaw_is_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """OpenCV's own, say: the bundle is tried again, and the third attempt is the last."""
    bench = Bench(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise cv2.error("bad picture")

    monkeypatch.setattr(updates, "open_tested", fail)
    bundle_id = verify_bundle(make_bundle(bench.stick / "a", gain=2, day=1))
    assert bench.look() == 0.2
    assert "not taken yet: error: bad picture" in bench.note
    bench.look_until(lambda: bench.recipes.refused(bundle_id))


def test_copies_that_cannot_be_listed_are_cleared_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A disk that gives an error does not end the station."""
    bench = Bench(tmp_path)
    (bench.config.data_dir / COPIES).mkdir(parents=True)

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", fail)
    assert bench.look() == 0.2


@pytest.mark.parametrize(
    ("token", "sent"), [(b"\xef\xbb\xbfsecret\n", {"Bearer secret"}), ("gehöim".encode(), set())]
)
def test_token_as_an_editor_saves_it(tmp_path: Path, token: bytes, sent: set[str]):
    """A byte order mark is no part of it; what no header can carry is said, and ends nothing."""
    (tmp_path / "token").write_bytes(token)
    with running_hub() as hub:
        outputs = [{"kind": "hub", "url": hub.address, "token_file": tmp_path / "token"}]
        bench = Bench(tmp_path, hub.address, outputs=outputs)
        assert bench.look() == 0.2
        for source in bench.updates._sources:
            source.close()
        assert hub.tokens == sent


@contextmanager
def line_beside(recipes: Recipes):
    """Judge parts in a thread as the loop does; gives every (bundle id, score), and errors."""
    found: list[tuple[str, float]] = []
    errors: list[Exception] = []
    stop = Flag()
    frame = np.full((32, 64, 3), 51, np.uint8)

    def judge_parts() -> None:
        try:
            while not stop.is_set():
                judge = recipes.of("default")["main"]
                judgement = judge.judge(judge.prepare(judge.cut(frame)), (32, 64))
                found.append((judge.bundle_id, judgement.score))
                recipes.judged(seen(recipes))
                time.sleep(0.002)  # a line is not always busy
        except Exception as error:  # noqa: BLE001 - for the test to see
            errors.append(error)

    thread = Thread(target=judge_parts)
    thread.start()
    try:
        yield found, errors
    finally:
        stop.set()
        thread.join(20)


def test_station_ends_whatever_the_hub_does(tmp_path: Path):
    """A hub that drips holds no thread, so the process can end in order."""
    with running_hub() as hub, ThreadPoolExecutor(1) as pool:
        hub.drips_after = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        bench, stop = Bench(tmp_path, hub.address), Flag()
        running = pool.submit(bench.updates.run, stop)
        assert hub.dripping.wait(10)
        stop.set()
        running.result(timeout=5)


def test_fifty_swaps_under_load_never_mix_two_bundles(tmp_path: Path):
    """Each part is judged by one bundle, the one its event names, while bundles come and go."""
    bench = Bench(tmp_path, updates={"bundles": [str(tmp_path / "stick")], "trial_parts": 1})
    gains = {bench.recipes.of("default")["main"].bundle_id: 1.0}
    with line_beside(bench.recipes) as (found, errors):
        for day in range(1, 51):
            folder = make_bundle(tmp_path / "made", gain=1 + day / 20, day=day)
            bundle_id = verify_bundle(folder)
            gains[bundle_id] = 1 + day / 20
            shutil.rmtree(bench.stick, ignore_errors=True)
            folder.rename(bench.stick)
            bench.look_until(
                lambda now=bundle_id: bench.recipes.statuses()[0].bundle_id == now and bool(found)
            )
    assert errors == []
    assert {bundle_id for bundle_id, _ in found} <= set(gains)
    assert all(score == pytest.approx(0.2 * gains[one], abs=1e-4) for one, score in found)
    assert len({bundle_id for bundle_id, _ in found}) > 10
    assert len(bench.copies) == 2


def test_bundle_that_kills_its_process_on_trial_is_given_up(tmp_path: Path):
    """After three processes that never said farewell the previous bundle judges again, for good."""
    _, recipes = swapped(tmp_path)
    new_id = recipes.of("default")["main"].bundle_id
    assert [score(Bench(tmp_path).recipes) for _ in range(4)] == [0.4, 0.4, 0.4, 0.2]
    last = Bench(tmp_path)
    assert last.note == f"{new_id[:12]} refused: {FATAL}"
    last.look()
    assert Bench(tmp_path).recipes.refused(new_id)


def test_power_cuts_ban_no_bundle_that_has_judged(tmp_path: Path):
    """What ends a process after a part was judged with the new bundle is not laid at its door."""
    _, recipes = swapped(tmp_path)
    for number in range(1, 6):
        bench = Bench(tmp_path)
        assert score(bench.recipes) == 0.4
        bench.recipes.judged(seen(bench.recipes, number))
        bench.look()  # the process ends here, without farewell
    (status,) = Bench(tmp_path).recipes.statuses()
    assert (status.trial, status.note) == (True, recipes.statuses()[0].note)


def test_part_the_bundle_gave_no_score_of_does_not_speak_for_it(tmp_path: Path):
    """Only a score shows that a process survives the bundle."""
    swapped(tmp_path)
    for number in range(1, 4):
        bench = Bench(tmp_path, updates={"trial_faults": 99})
        bench.recipes.judged(seen(bench.recipes, number, Verdict.FAULT))
        assert bench.look() == 0.4
    last = Bench(tmp_path)
    assert (score(last.recipes), FATAL in last.note) == (0.2, True)


def test_process_that_says_farewell_counts_for_nothing(tmp_path: Path):
    """A station may be restarted as often as one likes while a bundle is on trial."""
    swapped(tmp_path)
    for _ in range(5):
        bench = Bench(tmp_path)
        assert score(bench.recipes) == 0.4
        bench.recipes.farewell()


def test_looking_at_a_running_station_changes_nothing(tmp_path: Path):
    """Replay and self-test open the same bundles beside a station, however often."""
    config, _ = swapped(tmp_path)
    before = (config.data_dir / STANDINGS).read_bytes()
    assert [score(open_recipes(config)) for _ in range(4)] == [0.4] * 4
    assert (config.data_dir / STANDINGS).read_bytes() == before
