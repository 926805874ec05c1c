"""Writes the model card beside weights of our own: how made, from what, and what they cannot do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from inspection.core.records import Origin, Record, write_text
from inspection.pretraining.laps import Pass
from inspection.pretraining.settings import BackboneRecipe, SegmenterRecipe

CARD = "README.md"
LICENCE = "Apache-2.0"  # of the package, whose formulas are all that they were made of
FROM = (
    "pictures drawn by formulas alone (gratings, noise, cells, weaves, fractals, radial contours, "
    "under light, blur and noise): no photograph, no data set, no person's work"
)
UNMEASURED = "Not yet: `inspection bench weights` measures what ships with the package."


class MadeRecord(Record):
    """How weights of our own came about; beside them."""

    file: str
    sha256: str
    recipe: BackboneRecipe | SegmenterRecipe
    laps: tuple[Pass, ...] = Field(description="the learning curve, on pictures held out")
    origin: Origin


@dataclass(frozen=True)
class ModelCard:
    """What a reader wants to know of a file of weights."""

    title: str
    what: str
    command: str
    limits: tuple[str, ...]
    """May speak of the side of the pictures as `{side_px}`."""

    def write(
        self, folder: Path, made: MadeRecord, further: Mapping[str, str] | None = None
    ) -> None:
        """Write `README.md`; how good the weights are is still to be measured.

        Args:
            folder: of the weights.
            made: their record.
            further: rows of the table.
        """
        last, origin = made.laps[-1], made.origin
        found = ", ".join(f"{name} {value:.3f}" for name, value in last.found.items())
        rows = {
            "file": f"`{made.file}`",
            "sha256": f"`{made.sha256}`",
            "licence": LICENCE,
            "trained on": FROM,
            "made by": f"`{self.command}`, commit {origin.git_revision}",
            "made on": f"{origin.machine}, {origin.created_at:%Y-%m-%d}",
            "recipe, versions, learning curve": "`weights.json`",
            "held-out pictures after the last pass": found,
            **(further or {}),
        }
        table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
        limits = "\n".join(f"- {limit}" for limit in self.limits).format(
            side_px=made.recipe.side_px
        )
        write_text(
            folder / CARD,
            f"# {self.title}\n\n{self.what}\n\n| | |\n|---|---|\n{table}\n\n"
            f"## Measured\n\n{UNMEASURED}\n\n## Known limits\n\n{limits}\n",
        )
