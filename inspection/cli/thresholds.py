"""The commands that change a bundle's thresholds by signed records, without touching the model."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import BundleFolder, Json, TrustedKeys, new_app, options, say
from inspection.cli.tables import aligned

if TYPE_CHECKING:
    from inspection.bundles.thresholds import ListedThresholds

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
    as_json: Json = False,
) -> None:
    """Add a signed record to a folder; stations that watch it follow within seconds.

    Example: inspection thresholds set bundles/plate --review-above 3.1 --reject-above 4.2
    --who weber --why glare --out thresholds
    """
    from inspection.bundles.seal import verify_bundle
    from inspection.bundles.thresholds import ThresholdRecord, list_thresholds, set_thresholds

    band = {"review_above": review_above, "reject_above": reject_above}
    scope = {"bundle_id": verify_bundle(bundle_folder), "product": product, "camera": camera}
    about = {"band": band, "who": who, "why": why, "when": datetime.now(UTC).isoformat()}
    path = set_thresholds(out, options(ThresholdRecord, {**scope, **about}))
    added = [one for one in list_thresholds(out) if one.path == path]
    say(added, _text(added), as_json=as_json)


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

    listed = list_thresholds(folder, tuple(trusted_key or ()))
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
