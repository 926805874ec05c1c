"""What a retraining is asked to do, fixed when it is asked for: its hash is the job's id."""

from pathlib import Path

from pydantic import AwareDatetime, Field, StrictInt

from inspection.core.config import Settings
from inspection.core.records import hash_json
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub.wire.retraining import JobKind


class JobRequest(Settings):
    """Everything that decides what comes of a job; two requests alike are one job."""

    line: str
    product: str
    name: str = Field(description="of the bundle")
    kind: JobKind
    champion_id: str | None = Field(description="bundle that judges now; none on a first training")
    manifest: Path = Field(description="the set it begins with, as its workers reach it")
    manifest_sha256: str
    reviews_until: StrictInt = Field(ge=0, description="id of the last review row that counts")
    corrections_until: StrictInt = Field(
        0, ge=0, description="id of the last drawn mask that counts; requests of old name none"
    )
    forgotten: tuple[str, ...] = Field(description="sha256 of pictures that teach nothing, sorted")
    changed_at: AwareDatetime | None = Field(
        None, description="since when the material is as it is; none: no change is known"
    )
    train: TrainConfig
    export: ExportConfig
    asked_at: AwareDatetime = Field(description="stands in the bundle as its date; not in the id")

    @property
    def job_id(self) -> str:
        """Hash of all but when it was asked, and of the later fields where they say nothing."""
        silent = {one for one in ("corrections_until", "changed_at") if not getattr(self, one)}
        return hash_json(self.model_dump(mode="json", exclude={"asked_at", *silent}))
