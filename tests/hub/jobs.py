"""Requests of retrainings for tests."""

from datetime import UTC, datetime
from pathlib import Path

from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub.job_request import JobRequest
from inspection.hub.wire.retraining import JobKind


def request(**changes) -> JobRequest:
    """Give what a training of the plates on line-1 is asked to do."""
    values = {
        "line": "line-1",
        "product": "plate",
        "name": "plate",
        "kind": JobKind.RETRAIN,
        "champion_id": None,
        "manifest": Path("plate.json"),
        "manifest_sha256": "a" * 64,
        "reviews_until": 7,
        "forgotten": (),
        "train": TrainConfig(),
        "export": ExportConfig(),
        "asked_at": datetime(2026, 3, 2, tzinfo=UTC),
    }
    return JobRequest(**values | changes)
