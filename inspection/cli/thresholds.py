"""The commands that change a bundle's thresholds by signed records, without touching the model."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import BundleFolder, Json, TrustedKeys, new_app, options, say
from inspection.cli.tables import aligned

if TYPE_CHECKING:
    from inspection.bundles.thresholds import ListedThresholds
    from inspection.export.calibrate import Calibration
    from inspection.station.recipes.bundle_judge import BundleJudge

thresholds = new_app("Change a bundle's thresholds by signed, reversible records.")


@thresholds.command("set")
def set_(
    bundle_folder: BundleFolder,
    review_above: Annotated[float, typer.Option(help="scores above are REVIEW, raw score units")],
    reject_above: Annotated[float, typer.Option(help="scores above are REJECT, raw score units")],
    who: Annotated[str, typer.Option(help="who changes them")],
    why: Annotated[str, typer.Option(help="why they change")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="folder of the records")],
    product: Annotated[str | None, typer.Option(help="product code; else every one")] = None,
    camera: Annotated[str | None, typer.Option(help="camera; else every one")] = None,
    approved_by: Annotated[
        str | None, typer.Option(help="second person, for thresholds beyond the card's limits")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a signed record to a folder; stations that watch it follow within seconds.

    Example: inspection thresholds set bundles/plate --review-above 3.1 --reject-above 4.2
    --who weber --why glare --out thresholds
    """
    band = {"review_above": review_above, "reject_above": reject_above}
    scope = {"product": product, "camera": camera}
    about = {"who": who, "approved_by": approved_by, "why": why, **scope}
    added = _add(bundle_folder, out, {"band": band, **about})
    say([added], _text([added]), as_json=as_json)


def _add(bundle_folder: Path, out: Path, values: dict[str, object]) -> "ListedThresholds":
    """Add a record for a bundle and give it as it is listed."""
    from inspection.bundles.bundle import read_released
    from inspection.bundles.thresholds import ThresholdRecord, list_thresholds, set_thresholds

    found = read_released(bundle_folder, allow_refused=True)
    about = {"bundle_id": found.bundle_id, "when": datetime.now(UTC).isoformat()}
    path = set_thresholds(out, options(ThresholdRecord, {**about, **values}), found.card)
    return next(one for one in list_thresholds(out) if one.path == path)


@thresholds.command("parts")
def parts(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="of the station, with `frames`")],
    folder: Annotated[Path, typer.Argument(help="frames of good parts that were not trained on")],
    who: Annotated[str, typer.Option(help="who changes the thresholds")],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder of the records; none only says")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="false rejects to promise per part; else the bundle's")
    ] = None,
    product: Annotated[str, typer.Option(help="product code")] = "default",
    name_pattern: Annotated[
        str | None, typer.Option(help="of the files; else the station's source.name_pattern")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set thresholds on the scores of whole good parts, fused as the station fuses them.

    Example: inspection thresholds parts station.yaml good-parts --who weber --out thresholds
    """
    from inspection.core.config import load_config
    from inspection.export.parts import fit_parts
    from inspection.station.frames.scoring import score_parts
    from inspection.station.settings import StationConfig

    found = score_parts(load_config(config, StationConfig), folder, product, name_pattern)
    fitted = {
        camera: fit_parts(found.scores[camera], judge.bundle.card, len(found.judges), rate)
        for camera, judge in found.judges.items()
    }
    if out is not None:
        _add_fitted(found.judges, fitted, out, {"who": who, "product": product})
    value = {"fitted": fitted, "left_out": found.left_out}
    say(value, _fitted_text(fitted, found.left_out), as_json=as_json)


def _add_fitted(
    judges: "Mapping[str, BundleJudge]",
    fitted: "Mapping[str, Calibration]",
    out: Path,
    about: dict[str, object],
) -> None:
    for camera, one in fitted.items():
        kept = one.promised
        why = f"{kept.normals} whole good parts; false rejects expected: {kept.mean:.3g}"
        values = {"band": one.band.model_dump(), "why": why, "camera": camera}
        _add(judges[camera].bundle.path, out, {**about, **values})


def _fitted_text(fitted: "Mapping[str, Calibration]", left_out: "Mapping[str, str]") -> str:
    rows = [("camera", "good parts", "review", "reject", "expected", "95 % bound")]
    for camera, one in fitted.items():
        kept = one.promised
        edges = f"{one.band.review_above:.6g}", f"{one.band.reject_above:.6g}"
        rows.append((camera, str(kept.normals), *edges, f"{kept.mean:.3g}", f"{kept.bound95:.3g}"))
    left = "".join(f"\nleft out {name}: {why}" for name, why in left_out.items())
    return f"{aligned(rows)}{left}"


@thresholds.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="folder of threshold records")],
    trusted_key: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """List the records of a folder, oldest first, and which of them are in force.

    Example: inspection thresholds list thresholds
    """
    from inspection.bundles.thresholds import list_thresholds

    listed = list_thresholds(folder, tuple(trusted_key) if trusted_key else None)
    say(listed, _text(listed), as_json=as_json)


def _text(listed: "Sequence[ListedThresholds]") -> str:
    """Say who set which band for what, when and why; a damaged file says so."""
    rows = [("when", "bundle", "product", "camera", "review", "reject", "who", "state", "why")]
    for one in listed:
        if one.record is None:
            rows.append(("-", "-", "-", "-", "-", "-", "-", one.state, ""))
            continue
        record, band = one.record, one.record.band
        scope = record.bundle_id[:12], record.product or "every", record.camera or "every"
        numbers = f"{band.review_above:.6g}", f"{band.reject_above:.6g}"
        when = f"{record.when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        rows.append((when, *scope, *numbers, record.who, one.state, record.why))
    return f"{aligned(rows)}\n{len(listed)} records"
