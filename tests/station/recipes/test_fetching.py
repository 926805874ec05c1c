"""Copies of offered bundles: whole or not at all, and nothing of a source is believed."""

import hashlib
import os
import re
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Timer

import pytest

from inspection.bundles.seal import GATE, SIGNATURE, SUMS, verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE, Deployment, Purpose, own_keys, sign
from inspection.core.errors import BundleCorrupt, BundleError, InspectionError
from inspection.station.recipes import fetching
from inspection.station.recipes import hub as hub_source
from inspection.station.recipes.fetching import (
    MOST_RENEWED_BYTES,
    FolderSource,
    Offer,
    Pieces,
    SourceGone,
    fetch,
    hash_renewed,
    take_back,
)
from inspection.station.recipes.hub import HubSource
from tests.station.bundles import make_bundle
from tests.station.recipes.hub import running_hub

pytestmark = pytest.mark.fast
NEVER = Flag()


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def offered(folder: Path) -> Offer:
    """Give the one bundle a folder has."""
    (offer,) = FolderSource(folder, own_keys()).offers(NEVER)
    return offer


def made_of(files: dict[str, bytes]) -> Offer:
    """Offer files that need not be a bundle."""

    def read(name: str) -> Pieces:
        if name not in files:
            raise SourceGone(f"{name}: is not there")
        yield files[name]

    bundle_id = hashlib.sha256(files[SUMS]).hexdigest()
    return Offer(bundle_id, "redness", datetime(2025, 3, 1, tzinfo=UTC), "stick", read)


def test_stick_gives_its_bundles_with_all_defaults(tmp_path: Path):
    """A folder's bundles are those directly below; unfinished and other folders are none."""
    for name in ("a", "b", ".c.partial", "deep/d"):
        make_bundle(tmp_path / "stick" / name, name=name, day=len(name))
    (tmp_path / "stick" / "pictures").mkdir()
    assert [
        (offer.name, offer.where)
        for offer in FolderSource(tmp_path / "stick", own_keys()).offers(NEVER)
    ] == [
        ("a", str(tmp_path / "stick" / "a")),
        ("b", str(tmp_path / "stick" / "b")),
    ]


def test_folder_may_be_the_bundle_itself(tmp_path: Path):
    """A place may name one bundle."""
    make_bundle(tmp_path / "bundle", day=3)
    offer = offered(tmp_path / "bundle")
    assert (offer.bundle_id, offer.created_at.day) == (verify_bundle(tmp_path / "bundle"), 4)


def test_place_that_is_not_there_offers_nothing(tmp_path: Path):
    """A stick that is not plugged in is no error."""
    assert FolderSource(tmp_path / "stick", own_keys()).offers(NEVER) == ()


def replaced(path: Path, by: Callable[[Path], object]) -> None:
    """Put something else in a file's place."""
    path.unlink()
    by(path)


def sparse(path: Path) -> None:
    """Make a file of 1.5 GB that takes no room."""
    with path.open("wb") as stream:
        stream.truncate(1_500_000_000)


def link(path: Path) -> None:
    """Make a link to a file outside."""
    (path.parent.parent.parent / "outside").write_text("secret")
    path.symlink_to(path.parent.parent.parent / "outside")


ODD = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "sparse file of 1.5 GB": sparse,
    "link to a file outside": link,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "junk that takes a parser seconds": lambda path: path.write_text(f"[{'[],' * 500_000}[]]"),
}


@pytest.mark.parametrize("name", ["card.json", SUMS, SIGNATURE])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_no_file_of_a_bundle_is_refused_unread(tmp_path: Path, name: str, odd):
    """A bundle with something else in a file's place is named; the one beside it is offered.

    Nothing waits for it, and no more of it is read than such a file can have.
    """
    stick = tmp_path / "stick"
    replaced(make_bundle(stick / "a") / name, odd)
    make_bundle(stick / "b", name="b")
    source = FolderSource(stick, own_keys())
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    offers = {offer.where: offer for offer in source.offers(NEVER)}
    assert offers[str(stick / "b")].name == "b"
    refused = offers.get(str(stick / "a"))  # without sums, or a link to them, it is no bundle
    if refused is not None:
        assert (refused.bundle_id, refused.name) == ("", "")
        assert re.search(
            r"cannot be read|seal is damaged|was changed since it was verified", refused.refused
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb < 300_000


@pytest.mark.parametrize("name", ["card.json", "model.bin", "golden/good1.png"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_copying_waits_for_nothing_and_fills_no_disk(tmp_path: Path, name: str, odd):
    """A FIFO, a folder, a link, a device or a giant in place of a file ends the copy."""
    stick = make_bundle(tmp_path / "stick" / "a")
    offer = offered(stick)
    held = next(path for path in (stick / name, stick / "model.xml") if path.is_file())
    replaced(held, odd)
    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(fetch, offer, tmp_path / "copies", NEVER)
        with pytest.raises((SourceGone, BundleCorrupt), match=r"cannot be read|is not what SHA256"):
            copying.result(60)
    shutil.rmtree(tmp_path / "copies")


@pytest.mark.parametrize("name", [SUMS, SIGNATURE, GATE])
def test_record_that_never_ends_is_copied_no_further_than_one_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Sums, signature and gate record have limits of their own, far below a bundle's."""
    monkeypatch.setattr(fetching, "MOST_OF", {name: 100})
    sums = f"{'0' * 64}  a\n".encode()
    files = {SUMS: sums, SIGNATURE: b"", GATE: b"", "a": b""}
    files[name] += bytes(101 - len(files[name]))
    with pytest.raises(BundleError, match="larger than that of any bundle"):
        fetch(made_of(files), tmp_path / "copies", NEVER)


def test_card_of_a_stranger_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who wrote a bundle is asked first; what nobody trusted signed may be anything."""
    own = own_keys()
    with monkeypatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, str(tmp_path / "stranger"))
        stick = make_bundle(tmp_path / "stick" / "a")
    (stick / "card.json").unlink()  # would be said if anybody looked for it
    (offer,) = FolderSource(stick, own).offers(NEVER)
    assert "which is not among the trusted keys" in offer.refused


def test_copy_is_a_sound_bundle_of_its_own(tmp_path: Path):
    """The copy verifies after the stick is gone, and a second fetch copies nothing."""
    offer = offered(make_bundle(tmp_path / "stick"))
    copy = fetch(offer, tmp_path / "copies", NEVER)
    shutil.rmtree(tmp_path / "stick")
    assert verify_bundle(copy) == offer.bundle_id == copy.name
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [copy.name]
    assert fetch(offer, tmp_path / "copies", NEVER) == copy


def test_stick_pulled_while_copying_is_taken_up_where_it_was(tmp_path: Path):
    """What came before the stick went is not read again, and no half copy is ever a bundle."""
    stick = make_bundle(tmp_path / "stick")
    offer, graph = offered(stick), (stick / "model.xml").read_bytes()
    (stick / "model.xml").unlink()
    with pytest.raises(SourceGone, match=r"model\.xml: cannot be read \(No such file"):
        fetch(offer, tmp_path / "copies", NEVER)
    assert not (tmp_path / "copies" / offer.bundle_id).exists()
    (stick / "model.xml").write_bytes(graph)
    (stick / "card.json").unlink()  # the first of SHA256SUMS: it is here already
    assert verify_bundle(fetch(offer, tmp_path / "copies", NEVER)) == offer.bundle_id


def test_station_that_ends_stops_copying(tmp_path: Path):
    """Copying a large bundle does not keep a station from ending."""
    stop = Flag()
    stop.set()
    with pytest.raises(SourceGone, match="the station ends; fetched after its next start"):
        fetch(offered(make_bundle(tmp_path / "stick")), tmp_path / "copies", stop)


def test_full_disk_gives_its_room_back_and_the_next_time_copies(tmp_path: Path):
    """A copy that cannot be written is removed and said; with room it is made."""
    offer = offered(make_bundle(tmp_path / "stick"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))  # EFBIG stands for ENOSPC
    try:
        with pytest.raises(InspectionError, match=r"cannot be written \(.*free space or rights"):
            fetch(offer, tmp_path / "copies", NEVER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "copies").iterdir()) == []
    assert verify_bundle(fetch(offer, tmp_path / "copies", NEVER)) == offer.bundle_id


def test_file_that_differs_from_the_sums_is_refused_and_fetched_again(tmp_path: Path):
    """A bit that fell over on the stick is named; a healed stick gives the bundle."""
    stick = make_bundle(tmp_path / "stick")
    offer, sound = offered(stick), (stick / "model.bin").read_bytes()
    (stick / "model.bin").write_bytes(sound[:-1] + b"?")
    with pytest.raises(BundleCorrupt, match=r"'model\.bin' is not what SHA256SUMS says; copy the"):
        fetch(offer, tmp_path / "copies", NEVER)
    (stick / "model.bin").write_bytes(sound)
    assert verify_bundle(fetch(offer, tmp_path / "copies", NEVER)) == offer.bundle_id


def test_sums_that_changed_since_they_were_offered_are_refused(tmp_path: Path):
    """The id is the hash of the sums: others belong to another bundle."""
    stick = make_bundle(tmp_path / "stick")
    offer = offered(stick)
    (stick / SUMS).write_text("")
    with pytest.raises(BundleCorrupt, match="SHA256SUMS is not the one of"):
        fetch(offer, tmp_path / "copies", NEVER)


def test_bundle_without_gate_record_waits_for_it(tmp_path: Path):
    """A bundle that may still be gated is not there yet."""
    stick = make_bundle(tmp_path / "stick", gated=False)
    with pytest.raises(SourceGone, match=r"without gate record \(.*run inspection gate"):
        fetch(offered(stick), tmp_path / "copies", NEVER)


STRANGE = [
    "../evil",
    "/tmp/evil",
    "a/../../evil",
    "./a",
    "a//b",
    "",
    ".",
    "..",
    "gate.json",
    "a\0b",
]


@pytest.mark.parametrize("name", STRANGE)
def test_name_that_leads_out_of_the_bundle_is_refused(tmp_path: Path, name: str):
    """No source writes outside the copy, whatever its sums name."""
    sums = f"{hashlib.sha256(b'x').hexdigest()}  {name}\n".encode()
    offer = made_of({SUMS: sums, SIGNATURE: b"", GATE: b"", name: b"x"})
    with pytest.raises(BundleError, match=r"SHA256SUMS: line .* is none of a SHA256SUMS; copy"):
        fetch(offer, tmp_path / "copies" / "deep", NEVER)
    assert not list(tmp_path.rglob("*evil*"))


def test_sums_that_are_none_are_refused(tmp_path: Path):
    """A file of another kind is no list of sums."""
    with pytest.raises(
        BundleCorrupt, match=r"SHA256SUMS: 'utf-8' codec can't decode.*; copy the bundle again"
    ):
        fetch(made_of({SUMS: b"\xff\xfe"}), tmp_path / "copies", NEVER)


def test_more_than_a_bundle_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A source that never ends does not fill the disk."""
    monkeypatch.setattr(fetching, "MOST_BYTES", 1_000)
    sums = f"{'0' * 64}  a\n".encode()
    offer = made_of({SUMS: sums, SIGNATURE: b"", GATE: b"", "a": bytes(2_000)})
    with pytest.raises(
        BundleError,
        match="it or one of its files is larger than that of any bundle; export it again",
    ):
        fetch(offer, tmp_path / "copies", NEVER)


def test_hub_lends_its_bundles(tmp_path: Path):
    """A bundle comes over HTTP as it is, and each request carries the token."""
    (tmp_path / "token").write_text("secret\n")
    with running_hub() as hub:
        bundle_id = hub.lend(make_bundle(tmp_path / "bundle"))
        with closing(
            HubSource(hub.address + "/", "station-1", own_keys(), tmp_path / "token")
        ) as source:
            (offer,) = source.offers(NEVER)
            copy = fetch(offer, tmp_path / "copies", NEVER)
        assert (verify_bundle(copy), offer.name) == (bundle_id, "redness")
        assert hub.tokens == {"Bearer secret"}


def test_interrupted_download_goes_on_with_the_file_it_broke_off_in(tmp_path: Path):
    """Of files that came whole none is asked for again."""
    with running_hub() as hub, closing(HubSource(hub.address, "station-1", own_keys())) as source:
        bundle_id = hub.lend(make_bundle(tmp_path / "bundle"))
        hub.breaks_off_at = "model.bin"
        (offer,) = source.offers(NEVER)
        with pytest.raises(SourceGone, match=r"model\.bin: no answer \(RemoteProtocolError"):
            fetch(offer, tmp_path / "copies", NEVER)
        hub.breaks_off_at, before = "", len(hub.asked)
        copy = fetch(offer, tmp_path / "copies", NEVER)
    again = [os.path.basename(path) for path in hub.asked[before:]]  # noqa: PTH119 - of addresses
    assert verify_bundle(copy) == bundle_id
    assert again == [SUMS, SIGNATURE, GATE, "model.bin", "model.xml"]


NONSENSE = {
    "an id that is a path": [
        {"bundle_id": "../..", "name": "x", "created_at": "2025-03-01T06:00Z"}
    ],
    "no date": [{"bundle_id": "a" * 64, "name": "x"}],
    "not signed": [{"text": "{}"}],
    "a list without end": [{"bundle_id": "x" * 1_000}] * 2_000,
}


def test_deployment_of_a_stranger_another_station_or_none_is_refused():
    """Neither a hub of somebody else's nor someone between can have a station run a bundle."""
    sound = Deployment(
        station="station-1", bundle_id="a" * 64, name="x", created_at=datetime.now(UTC)
    )
    other = sound.model_copy(update={"station": "station-2"})
    wrong = {
        "not among the trusted keys": (sign(Purpose.DEPLOYMENT, sound.model_dump_json()), ()),
        "gave a deployment for station 'station-2'": (
            sign(Purpose.DEPLOYMENT, other.model_dump_json()),
            own_keys(),
        ),
        "does not fit its content as a deployment": (
            sign(Purpose.THRESHOLDS, sound.model_dump_json()),
            own_keys(),
        ),
        "signed no deployment": (sign(Purpose.DEPLOYMENT, "{}"), own_keys()),
    }
    for why, (signed, keys) in wrong.items():
        with running_hub() as hub, closing(HubSource(hub.address, "station-1", keys)) as source:
            hub.sends = [signed.model_dump()]
            with pytest.raises(SourceGone, match=why):
                source.offers(NEVER)


@pytest.mark.parametrize("listed", NONSENSE.values(), ids=NONSENSE)
def test_hub_that_answers_nonsense_is_asked_again_later(listed):
    """A list that is none, or never ends, says what is wrong and is no offer."""
    with running_hub() as hub, closing(HubSource(hub.address, "station-1", own_keys())) as source:
        hub.sends = listed
        with pytest.raises(SourceGone, match=r"answers no list of bundles|more than 1,000,000 by"):
            source.offers(NEVER)


SILENT = {
    "no list for it": ("station 2", None, "challengers=true: answered 404; wanted 200"),
    "no token": ("station-1", "token", "token: cannot be read"),
}


@pytest.mark.parametrize(("station", "token", "found"), SILENT.values(), ids=SILENT)
def test_hub_that_gives_no_list_says_why(tmp_path: Path, station, token, found):
    """A station the hub does not know and a missing token are said."""
    token_file = tmp_path / token if token else None
    with (
        running_hub() as hub,
        closing(HubSource(hub.address, station, own_keys(), token_file)) as source,
        pytest.raises(SourceGone, match=found),
    ):
        source.offers(NEVER)


def test_hub_that_is_gone_is_said():
    """Nobody listening at the address is an outage, not an error of the station."""
    with running_hub() as hub:
        address = hub.address
    gone = pytest.raises(SourceGone, match=r"no answer \(ConnectError.*look at the network")
    with closing(HubSource(address, "station-1", own_keys())) as source, gone:
        source.offers(NEVER)


DRIPS = {
    "in its head": b"HTTP/1.1 200 OK\r\nX: ",
    "in its body": b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n",
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_hub_that_drips_is_left_when_its_time_is_over(monkeypatch, answer: bytes):
    """A byte now and then keeps no station from looking elsewhere; another request starts anew."""
    monkeypatch.setattr(hub_source, "LIST_S", 0.1)
    with running_hub() as hub, closing(HubSource(hub.address, "station-1", own_keys())) as source:
        hub.drips_after = answer
        with pytest.raises(
            SourceGone, match=r"challengers=true: no whole answer within 0\.1 s; look at"
        ):
            source.offers(NEVER)
        hub.drips_after = b""
        assert source.offers(NEVER) == ()


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_hub_that_drips_a_file_is_left_when_the_station_ends(tmp_path: Path, answer: bytes):
    """The end of a station waits for no hub, wherever the answer stands."""
    stop = Flag()
    with running_hub() as hub, closing(HubSource(hub.address, "station-1", own_keys())) as source:
        hub.lend(make_bundle(tmp_path / "bundle"))
        (offer,) = source.offers(stop)
        hub.drips_after = answer
        ending = Timer(0.1, stop.set)
        ending.start()
        with pytest.raises(SourceGone, match=": the station ends"):
            fetch(offer, tmp_path / "copies", stop)
        ending.join()


def test_renewed_gate_and_signature_are_noticed(tmp_path: Path):
    """The id of a bundle stays when it is gated again; what is written beside the seal tells."""
    offer = offered(make_bundle(tmp_path / "stick"))
    found = [hash_renewed(offer.read)]
    for name in (GATE, SIGNATURE):
        with (tmp_path / "stick" / name).open("a") as stream:
            stream.write(" ")
        found.append(hash_renewed(offer.read))
    assert len(set(found)) == 3
    (tmp_path / "stick" / GATE).write_bytes(bytes(MOST_RENEWED_BYTES))
    with pytest.raises(SourceGone, match=r"gate\.json: more than 2,010,000 bytes"):
        hash_renewed(offer.read)


def test_copy_that_is_taken_back_is_mended(tmp_path: Path):
    """Only what is not sound, or may be renewed, is asked for again."""
    stick = make_bundle(tmp_path / "stick")
    offer = offered(stick)
    copy = fetch(offer, tmp_path / "copies", NEVER)
    (copy / "card.json").write_text("{}")
    take_back(copy)
    assert not copy.exists()
    (stick / "model.xml").unlink()  # would be missed
    assert verify_bundle(fetch(offer, tmp_path / "copies", NEVER)) == offer.bundle_id
