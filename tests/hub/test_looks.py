"""What explains a frame's score, and the bundles the hub opens for it."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bench.redness import make_bundle
from inspection.bundles.bundle import GRAPH
from inspection.core.decision import Verdict
from inspection.hub import opening
from inspection.hub.asking import Refused
from inspection.hub.ingest import Sender, store_events
from inspection.hub.models import add_bundle, choose
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.refusals import NotThere
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from tests.hub.bundles import GREENS, encode, make_bank_bundle, red_part, spoilt_part
from tests.station.events import event

BESIDE_MIDDLE = (15 / 16) ** 2  # bilinear, half a px down and right of the middle of 8×8 px


def decoded(image: str) -> np.ndarray:
    """Decode base64 PNG."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))


def judged(plant, folder: Path, picture: bytes) -> str:
    """Have a picture judged by a bundle; gives the event's id."""
    hub = plant.hub
    bundle_id = add_bundle(hub, folder, "ann").bundle_id
    choose(hub, "line-1", NewChoice(bundle_id=bundle_id, comment="why"), "ann")
    thin = plant.client(plant.station_token("thin", "line-1"))
    return thin.judge("line-1", "lid", "p1", picture).event.event_id


def test_a_look_shows_where_the_part_is_unlike_the_normals(sqlite_plant, tmp_path):
    part = encode(spoilt_part(row=1, column=2, like=5))
    event_id = judged(sqlite_plant, make_bank_bundle(tmp_path / "bank"), part)
    look = sqlite_plant.person(Role.VIEWER).look(event_id, "main", 64)
    assert (look.height_px, look.width_px, look.note) == (32, 64, "")
    assert look.score == pytest.approx(2.0, abs=1e-3)
    assert look.peak_xy == (20.0, 12.0)
    heat, coarse = decoded(look.heat), decoded(look.coarse)
    assert heat.shape == coarse.shape == decoded(look.refined).shape == (32, 64)
    assert heat.dtype == np.uint8
    assert (heat[12, 20], heat[30, 60]) == (round(255 * BESIDE_MIDDLE), 0)
    assert heat.max() == heat[12, 20]
    assert (coarse[12, 20], coarse[30, 60]) == (255, 0)
    assert decoded(look.refined)[12, 20] == 255
    assert "(shipped, " in look.segmenter


def test_the_most_alike_normal_patch_is_the_one_the_bank_compares_with(sqlite_plant, tmp_path):
    part = encode(spoilt_part(row=1, column=2, like=5))
    event_id = judged(sqlite_plant, make_bank_bundle(tmp_path / "bank"), part)
    look = sqlite_plant.person(Role.VIEWER).look(event_id, "main")
    assert look.normal_distance == pytest.approx(2.0, abs=1e-3)
    patch, normal = decoded(look.patch), decoded(look.normal_patch)
    assert patch.shape == normal.shape == (32, 48, 3)
    assert patch[12, 20].tolist() == [255, GREENS[5], 0]
    # stripe 5 is the middle of a patch of six cells that ends at the right edge: 2 to 7
    assert normal[:, 24:32, 1].tolist() == np.full((32, 8), GREENS[5]).tolist()


def test_images_are_no_larger_than_asked(sqlite_plant, tmp_path):
    picture = encode(np.full((300, 600, 3), (240, 0, 0), np.uint8))
    event_id = judged(sqlite_plant, make_bundle(tmp_path / "bundle"), picture)
    look = sqlite_plant.person(Role.VIEWER).look(event_id, "main", 100)
    assert (look.height_px, look.width_px) == (300, 600)
    for image in (look.heat, look.coarse, look.refined):
        assert decoded(image).shape == (50, 100)
    assert max(decoded(look.patch).shape) <= 100


def test_a_model_without_bank_has_no_nearest_normal(sqlite_plant, tmp_path):
    event_id = judged(sqlite_plant, make_bundle(tmp_path / "bundle"), red_part(240))
    look = sqlite_plant.person(Role.VIEWER).look(event_id, "main")
    assert (look.normal_patch, look.normal_distance) == (None, None)
    assert "compares with no bank" in look.note


def test_the_strongest_spot_of_a_good_part_is_not_drawn_as_a_defect(sqlite_plant, tmp_path):
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[8:16, 16:24, 0] = 51
    event_id = judged(sqlite_plant, make_bundle(tmp_path / "bundle"), encode(pixels))
    look = sqlite_plant.person(Role.VIEWER).look(event_id, "main")
    assert decoded(look.heat).max() == round(0.2 / 0.8 * 255 * BESIDE_MIDDLE)
    assert decoded(look.coarse).max() == decoded(look.refined).max() == 0


def test_another_score_than_the_events_is_said(sqlite_plant, tmp_path):
    event_id = judged(sqlite_plant, make_bundle(tmp_path / "bundle"), red_part(240))
    viewer, hub = sqlite_plant.person(Role.VIEWER), sqlite_plant.hub
    told = viewer.event(event_id).event
    sqlite_plant.station_token("s2", "line-1")
    for number, (score, doubtful) in enumerate([(told.frames[0].score, False), (0.5, True)], 1):
        frame = told.frames[0].model_copy(update={"score": score, "image": "whole.png"})
        other = event(number, Verdict.REJECT, station="s2", frames=(frame,))
        sender, picture = Sender("s2", "line-1"), red_part(240)
        store_events(hub, sender, f"[{other.model_dump_json()}]".encode())
        keep_picture(
            hub, sender, SentPicture(other.event_id, "whole.png", picture, frame.source_sha256)
        )
        note = viewer.look(other.event_id, "main").note
        assert ("0.5 in the event" in note) is doubtful


def test_what_is_not_there_is_not_explained(sqlite_plant, tmp_path):
    event_id = judged(sqlite_plant, make_bundle(tmp_path / "bundle"), red_part(20)[:-60])
    viewer, hub = sqlite_plant.person(Role.VIEWER), sqlite_plant.hub
    sqlite_plant.station_token("s2", "line-1")
    frame = event(1).frames[0].model_copy(update={"bundle_id": "../../../hub", "image": "a.png"})
    stranger = event(1, station="s2", frames=(frame,))
    bare = event(2, station="s2")
    store_events(
        hub,
        Sender("s2", "line-1"),
        f"[{stranger.model_dump_json()},{bare.model_dump_json()}]".encode(),
    )
    picture = SentPicture(stranger.event_id, "a.png", red_part(20), "1" * 64)
    keep_picture(hub, Sender("s2", "line-1"), picture)
    for wanted, camera, why in (
        (event_id, "main", "no bundle judged"),
        (event_id, "left", "no camera 'left'"),
        ("nobody", "main", "not on this hub"),
        (stranger.event_id, "main", "not on this hub"),
        (bare.event_id, "main", "no picture"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            viewer.look(wanted, camera)
        assert refused.value.status == 404


def test_few_bundles_stay_open(sqlite_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MOST_OPEN", 1)
    ids = [
        add_bundle(sqlite_hub, make_bundle(tmp_path / str(day), day=day), "ann").bundle_id
        for day in range(2)
    ]
    opened = sqlite_hub.opened
    first = opened.bundle(ids[0])
    assert opened.bundle(ids[0]) is first
    opened.bundle(ids[1])
    assert opened.bundle(ids[0]) is not first


def test_a_damaged_copy_is_fetched_again(make_hub, sqlite_url, tmp_path):
    hub = make_hub(sqlite_url)
    bundle_id = add_bundle(hub, make_bundle(tmp_path / "bundle"), "ann").bundle_id
    graph = hub.opened.bundle(bundle_id).path / GRAPH
    graph.write_bytes(b"damaged")
    again = make_hub(sqlite_url).opened.bundle(bundle_id)
    assert again.bundle_id == bundle_id
    assert graph.read_bytes() == (tmp_path / "bundle" / GRAPH).read_bytes()


def test_a_name_that_is_no_bundle_opens_nothing(sqlite_hub):
    for name in ("", "..", "0" * 64, "../" * 21 + "x"):
        with pytest.raises(NotThere):
            sqlite_hub.opened.bundle(name)
