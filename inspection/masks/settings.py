"""How a REJECT's map becomes outlines: what is asked of the segmenter and what it is believed."""

from pathlib import Path

from pydantic import Field, StrictFloat, StrictInt

from inspection.core.config import Settings


class RefineSettings(Settings):
    """Refinement of the map's coarse masks; the defaults were chosen on generated defects."""

    segmenter: Path | None = Field(
        None,
        description="folder of a converted segmenter (inspection review convert), or `grabcut`; "
        "none is the one that ships",
    )
    box_grow: StrictFloat = Field(
        0.15, ge=0, le=1, description="the box grows by this share of its sides, on each side"
    )
    most_defects: StrictInt = Field(
        100,
        ge=1,
        le=1_000,
        description="strongest defects of a frame that are measured; more are counted",
    )
    most_asked: StrictInt = Field(
        16,
        ge=1,
        le=1_000,
        description="strongest of them that a segmenter is asked about; the others stay coarse",
    )
    most_views: StrictInt = Field(
        16, ge=1, le=100, description="crops of a large frame that a segmenter looks at"
    )
    growth: StrictFloat = Field(
        1.3, gt=0, description="largest area of an outline, of the coarse mask's"
    )
    shrink: StrictFloat = Field(
        0.02, ge=0, le=1, description="least area of an outline, of the coarse mask's"
    )
    agreement: StrictFloat = Field(
        1.0,
        ge=0,
        description="least agreement with the map (mean inside minus mean on the ring), of the "
        "coarse mask's",
    )
    cover: StrictFloat = Field(
        0.9,
        ge=0,
        le=1,
        description="least share of the coarse mask that lies within 4 cells of the outline: a "
        "map blurs so far and no farther, so what lies beyond is defect that the outline lacks",
    )
    contrast: StrictFloat = Field(
        2.0,
        ge=0,
        description="least difference across the outline, over the deviation of the pixels beside "
        "it and 2 grey levels: an outline on no edge of the picture is a guess, and the coarse "
        "mask is the better one; 0 believes all",
    )
