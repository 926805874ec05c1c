"""The commands around sets of parts: make, check, split, fetch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import (
    CalibrateShare,
    DryRun,
    Group,
    Json,
    TestShare,
    choose,
    new_app,
    options,
    say,
)
from inspection.cli.tables import manifest_text, report_text, source_text

if TYPE_CHECKING:
    from inspection.core.records import Manifest

dataset = new_app("Make, check, split and fetch sets of parts.")


@dataset.command("make")
def make(
    out: Annotated[Path, typer.Argument(help="folder to make")],
    product: Annotated[str, typer.Option(help="plate, fabric or board")] = "plate",
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 0,
    train_good: Annotated[int, typer.Option(help="good parts under train/")] = 120,
    test_good: Annotated[int, typer.Option(help="good parts under test/")] = 40,
    per_defect: Annotated[int, typer.Option(help="parts of each defect")] = 8,
    frames: Annotated[int, typer.Option(min=1, help="of each part; 1 shows it once")] = 1,
    motion: Annotated[
        str, typer.Option(help="turntable, conveyor or tiles: how a part is shown several times")
    ] = "turntable",
    as_json: Json = False,
) -> None:
    """Make a generated set of parts with exact masks, in the MVTec layout.

    Example: inspection dataset make sets/plate --product plate --seed 0
    """
    from inspection.synthetic.dataset import Counts, Product, make_dataset
    from inspection.synthetic.frames import Motion, Motions

    counts = {"train_good": train_good, "test_good": test_good, "per_defect": per_defect}
    kind = choose(Product, product, "--product")
    shown = Motions(choose(Motion, motion, "--motion"), frames) if frames > 1 else None
    made = make_dataset(out, kind, seed, options(Counts, counts), shown)
    say({"folder": made}, str(made), as_json=as_json)


@dataset.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="MVTec AD, VisA, BTAD or good/ bad/ [masks/]")],
    out: Annotated[Path | None, typer.Option(help="manifest to write")] = None,
    false_reject_rate: Annotated[float, typer.Option(min=1e-6, max=0.5, help="to promise")] = 0.01,
    group: Group = None,
    calibrate_share: CalibrateShare = 0.15,
    test_share: TestShare = 0.2,
    accept_problems: Annotated[
        bool, typer.Option("--accept-problems", help="write it though it is unsound")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a set of parts, name everything wrong with it, write its manifest.

    Example: inspection dataset check sets/plate --out sets/plate.json --false-reject-rate 0.06
    """
    from inspection.data.check import check_dataset
    from inspection.data.split import SplitRule

    rule = {"group": group, "calibrate_share": calibrate_share, "test_share": test_share}
    report = check_dataset(
        folder, rule=options(SplitRule, rule), false_reject_rate=false_reject_rate
    )
    say(report, report_text(report), as_json=as_json)
    if out:
        _write_manifest(out, report.manifest, sound=report.sound, accepted=accept_problems)
    raise typer.Exit(0 if report.sound or accept_problems else 1)


@dataset.command("split")
def split(
    manifest: Annotated[Path, typer.Argument(help="the manifest to divide anew")],
    out: Annotated[Path, typer.Option(help="manifest to write")],
    group: Group = None,
    calibrate_share: CalibrateShare = 0.15,
    test_share: TestShare = 0.2,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Divide a manifest into fit, calibrate and test by a hash of each part's group.

    Example: inspection dataset split sets/plate.json --out sets/new.json --calibrate-share 0.2
    """
    from inspection.core.records import read_manifest, write_record
    from inspection.data.split import SplitRule, split_manifest

    rule = {"group": group, "calibrate_share": calibrate_share, "test_share": test_share}
    divided = split_manifest(read_manifest(manifest), options(SplitRule, rule))
    if not dry_run:
        write_record(out, divided)
        typer.echo(f"manifest written to {out}", err=True)
    say(divided, manifest_text(divided), as_json=as_json)


@dataset.command("fetch")
def fetch(
    source: Annotated[str, typer.Argument(help="mvtec, visa or btad")],
    category: Annotated[str, typer.Argument(help="one of its categories, for instance bottle")],
    out: Annotated[Path, typer.Option(help="folder of archives and categories")],
    mirror: Annotated[str | None, typer.Option(help="scheme and host of a mirror")] = None,
    sha256: Annotated[str | None, typer.Option(help="hash the archive must have")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Show the licence of a public data set, then fetch one category of it.

    Example: inspection dataset fetch mvtec bottle --out sets --dry-run
    """
    from inspection.data.fetch import fetch_category, find_source

    found = find_source(source, category)
    typer.echo(source_text(found, category, out), err=True)
    if not dry_run:
        folder = fetch_category(found, category, out, base_url=mirror, sha256=sha256)
        say({"folder": folder, "licence": found.licence}, str(folder), as_json=as_json)


def _write_manifest(out: Path, manifest: "Manifest", *, sound: bool, accepted: bool) -> None:
    """Write the manifest of a sound set, or of an unsound one that was accepted; say which."""
    from inspection.core.records import write_record

    if not sound and not accepted:
        typer.echo(f"{out} is not written; --accept-problems writes it all the same", err=True)
        return
    write_record(out, manifest)
    warning = "" if sound else " with the problems above, as --accept-problems asked"
    typer.echo(f"manifest written to {out}{warning}", err=True)
