"""The command that judges an archive again, on this machine or on a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import BundleFolder, Json, Threshold, chosen_band, options, say
from inspection.core.decision import Verdict

if TYPE_CHECKING:
    from inspection.retraining.rejudge import Rejudged

Archive = Annotated[
    Path,
    typer.Argument(help="folder of pictures, manifest, a station's data_dir or its configuration"),
]


def replay(
    bundle_folder: BundleFolder,
    archive: Archive,
    out: Annotated[Path, typer.Option(help="folder of rows and summary; goes on where it ended")],
    executor: Annotated[str, typer.Option(help="local, or dask://HOST:PORT")] = "local",
    threads: Annotated[int | None, typer.Option(min=1, help="of local; else every core")] = None,
    review_above: Threshold = None,
    reject_above: Threshold = None,
    allow_refused: Annotated[
        bool, typer.Option("--allow-refused", help="judge though the gate refused")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge an archive of any size again; exit 3 when one picture could not be judged.

    Example: inspection replay bundles/plate-2 archive --out again --executor dask://plant-7:8786
    """
    from inspection.retraining.rejudge import Where, rejudge

    band = chosen_band(review_above, reject_above)
    where = options(Where, {"executor": executor, "threads": threads})
    found = rejudge(
        bundle_folder, archive, out, band=band, where=where, allow_refused=allow_refused
    )
    say(found, _text(found), as_json=as_json)
    raise typer.Exit(3 if found.verdicts[Verdict.FAULT] else 0)


def _text(found: "Rejudged") -> str:
    """Count verdicts, by label and against those of then where these are known."""
    lines = [f"{found.pictures:,} pictures: {_counts(found.verdicts)}"]
    lines += [f"said to be {label}: {_counts(counts)}" for label, counts in found.labels.items()]
    if found.known:
        changed = ", ".join(f"{count:,} {change}" for change, count in found.changed.items())
        lines.append(f"changed of {found.known:,}: {changed or 'none'}")
    return "\n".join((*lines, found.note))


def _counts(verdicts: dict[Verdict, int]) -> str:
    return ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
