"""Which bundles are in force at a station, kept over a restart in `recipes.json` of data_dir."""

import logging
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, Field, StrictBool, StrictInt

from inspection.core.config import Settings
from inspection.core.errors import InspectionError
from inspection.core.records import Record, read_record

STANDINGS, COPIES = "recipes.json", "bundles"
logger = logging.getLogger(__name__)


class Standing(Settings):
    """Which bundle of a name judges, and which did before."""

    active: str = Field(description="id of the bundle that judges")
    previous: str | None = Field(description="id of the one before; none when it was the first")
    chosen_at: AwareDatetime | None = Field(
        None, description="when a person chose it at the hub; none: it was the newest"
    )
    previous_chosen_at: AwareDatetime | None = Field(None, description="the same of the one before")
    since: AwareDatetime
    trial: StrictBool = Field(description="new, and may still have to go")
    trial_parts: StrictInt = Field(0, description="parts it has judged on trial")
    trial_faults: StrictInt = Field(0, description="how many of them were FAULT")
    trial_reason: str = Field("", description="what the faults were")
    note: str = Field(description="what became of the last update")


class Standings(Record):
    """What is in force at a station, and what never will be."""

    bundles: dict[str, Standing] = Field(default_factory=dict, description="by bundle name")
    refused: dict[str, str] = Field(
        default_factory=dict, description="bundle id → why it never judges here"
    )
    attempts: dict[str, StrictInt] = Field(
        default_factory=dict,
        description="bundle id → processes that began to try it and have neither given a score "
        "with it nor come to an end; a bundle that kills its process must not do so for ever",
    )


def rank(created_at: datetime, chosen_at: datetime | None) -> datetime:
    """Give what decides which of two bundles judges: when it was made, or chosen if that is later.

    So a bundle that a person chose stays until a newer one is made, or another one chosen.
    """
    return max(created_at, chosen_at or created_at)


def read_standings(data_dir: Path) -> Standings:
    """Read what is in force; damaged, it says so, and the configured bundles judge again."""
    path = data_dir / STANDINGS
    if not path.exists():
        return Standings()
    try:
        return read_record(path, Standings)
    except InspectionError as error:
        logger.error(  # noqa: TRY400 - the reason suffices
            "what was in force is unknown; the configured bundles judge",
            extra={"reason": str(error)},
        )
        return Standings()
