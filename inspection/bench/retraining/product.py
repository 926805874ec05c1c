"""A product so small that it is trained in seconds, on a hub with reviews and a job to do."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from inspection.bench.hub.stations import BAND
from inspection.bench.redness import make_bundle
from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.geometry import Geometry
from inspection.core.imaging import Rgb
from inspection.core.records import Event, FrameRecord, read_manifest, write_record
from inspection.core.settings import (
    BackboneConfig,
    ExportConfig,
    GateLimits,
    PatchcoreConfig,
    TrainConfig,
)
from inspection.data.check import check_dataset
from inspection.data.split import SplitRule
from inspection.hub.hub import Hub, open_hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.job_request import JobRequest
from inspection.hub.jobs import ask
from inspection.hub.models import add_bundle
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.reviews import decide
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import JobKind
from inspection.hub.wire.review import Decision, NewReview
from inspection.retraining.settings import RetrainingConfig

HEIGHT_PX, WIDTH_PX = 64, 96
GOODS, BAD, REVIEWED = 16, 6, 8  # of the set, in test, on the hub
LINE, PRODUCT = "line-1", "plate"
PERSON = Me(account="bench", role=Role.REVIEWER)
BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
TRAIN = TrainConfig(
    backbone=BackboneConfig(
        name="test_resnet", layers=("layer1", "layer2"), allow_random_weights=True
    ),
    geometry=Geometry(height_px=HEIGHT_PX, width_px=WIDTH_PX),
    patchcore=PatchcoreConfig(bank_size=64, candidates=1_000),
    batch_size=4,
    accelerator="cpu",
)
# random weights judge badly: what comes out matters here, not how well it judges
GATE = GateLimits(
    auroc_least=0.0,
    map_correlation=0.0,
    score_correlation=0.0,
    feature_correlation=0.0,
    auroc_drop=1.0,
    false_reject_factor=100.0,
)
EXPORT = ExportConfig(
    calibration_images=8, search_dimensions=0, false_reject_rate=0.3, golden_frames=1, gate=GATE
)


class Plant(Settings):
    """Where everything of the small plant lies."""

    folder: Path

    @property
    def hub(self) -> HubConfig:
        """The hub's settings."""
        return HubConfig(
            database=f"sqlite:///{self.folder}/hub.sqlite",
            artefacts=str(self.folder / "artefacts"),
            cache_dir=self.folder / "cache",
        )

    @property
    def retraining(self) -> RetrainingConfig:
        """The retraining's settings."""
        return RetrainingConfig(work_dir=self.folder / "jobs", lease_s=60)


def make_plant(folder: Path) -> Plant:
    """Make the set, the hub with its reviewed parts, and the job that learns both."""
    root, plant = folder / "set", Plant(folder=folder)
    rng = np.random.default_rng(0)
    for kind, count in (("train/good", GOODS), ("test/good", BAD), ("test/dent", BAD)):
        for number in range(count):
            path = root / kind / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_part(rng, bad="dent" in kind)).save(path)
    manifest = check_dataset(root, rule=SplitRule(calibrate_share=0.4)).manifest
    write_record(folder / "set.json", manifest)
    hub = open_hub(plant.hub)
    try:
        judge = add_bundle(hub, make_bundle(folder / "judge", name=PRODUCT), PERSON.account)
        _review(hub, rng, judge.bundle_id)
        ask(hub, _request(folder / "set.json"), PERSON.account, "to be killed")
    finally:
        hub.close()
    return plant


def _part(rng: np.random.Generator, *, bad: bool) -> Rgb:
    """Draw a grey plate with a bore; a bad one has a dark dent."""
    grey = rng.normal(130, 12, (HEIGHT_PX, WIDTH_PX))
    pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    cv2.circle(pixels, (WIDTH_PX // 2, HEIGHT_PX // 2), 10, (30, 30, 34), -1)
    if bad:
        x, y = (int(one) for one in rng.integers(12, (WIDTH_PX - 24, HEIGHT_PX - 12)))
        cv2.circle(pixels, (x, y), 6, (0, 0, 0), -1)
    return pixels


def _review(hub: Hub, rng: np.random.Generator, bundle_id: str) -> None:
    sender = Sender("station-1", LINE)
    enrol(hub, NewStation(station=sender.station, line=LINE), PERSON.account)
    for number in range(1, REVIEWED + 1):
        bad = number == REVIEWED
        name = f"part-{number}"
        store_events(
            hub,
            sender,
            b"["
            + _event(number, sender, bundle_id).model_dump_json().encode()[:-1]
            + b',"action":"none"}]',
        )
        encoded = cv2.imencode(".png", _part(rng, bad=bad))[1].tobytes()
        sha256 = hashlib.sha256(encoded).hexdigest()
        keep_picture(hub, sender, SentPicture(name, f"{name}.png", encoded, sha256))
        said = Decision.DEFECT if bad else Decision.GOOD
        decide(hub, name, NewReview(decision=said, revision=0), PERSON)


def _event(number: int, sender: Sender, bundle_id: str) -> Event:
    at, name = BEGIN + timedelta(seconds=number), f"part-{number}"
    frame = FrameRecord(
        camera="top",
        source=f"{name}.png",
        source_sha256="",
        bundle_id=bundle_id,
        band=BAND,
        verdict=Verdict.REVIEW,
        score=(BAND.review_above + BAND.reject_above) / 2,
        reason="",
        image=f"{name}.png",
    )
    return Event(
        event_id=name,
        sequence=number,
        part_id=name,
        product=PRODUCT,
        line=LINE,
        station=sender.station,
        verdict=Verdict.REVIEW,
        reason="",
        frames=(frame,),
        captured_at=at,
        judged_at=at,
        latency_ms=5.0,
    )


def _request(manifest: Path) -> JobRequest:
    return JobRequest(
        line=LINE,
        product=PRODUCT,
        name=PRODUCT,
        kind=JobKind.RETRAIN,
        champion_id=None,
        manifest=manifest,
        manifest_sha256=read_manifest(manifest).sha256,
        reviews_until=REVIEWED,
        forgotten=(),
        train=TRAIN,
        export=EXPORT,
        asked_at=BEGIN + timedelta(days=1),
    )
