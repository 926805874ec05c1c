"""Judges an archive again chunk by chunk, on this machine's cores or a cluster's; can go on later.

The rows of a chunk are named by the hash of all that decides them, so a chunk that is there is
done. Memory does not grow with the archive.
"""

import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import Field, StrictInt

from inspection.bundles.bundle import Released, read_released
from inspection.bundles.seal import SUMS
from inspection.core.config import Settings
from inspection.core.decision import Band, Verdict
from inspection.core.errors import DatasetError
from inspection.core.progress import advancing
from inspection.core.records import Label, Record, hash_json, write_record, write_text
from inspection.retraining.archive import Archive, Framings, Picture, open_archive
from inspection.retraining.chunk import Judged, judge_chunk
from inspection.retraining.pool import Pool, local_pool, run_all
from inspection.retraining.settings import EXECUTOR

CHUNK = 256  # pictures; so many are judged again when a worker or this process is killed
SUMMARY = "summary.json"
ROWS = re.compile(r"\d{7}-[0-9a-f]{16}\.jsonl")

Chunk = tuple[Picture, ...]


class Rejudged(Record):
    """What came of judging an archive again; the same whenever and wherever it was done."""

    name: str = Field(description="of the bundle")
    bundle_id: str
    band: Band
    pictures: StrictInt
    verdicts: dict[Verdict, StrictInt]
    labels: dict[Label, dict[Verdict, StrictInt]] = Field(
        description="verdicts by what a person had said, where that is known"
    )
    known: StrictInt = Field(description="pictures whose verdict of then is known")
    changed: dict[str, StrictInt] = Field(description="of these, 'THEN → NOW' where they differ")
    note: str = Field(description="what to know of verdicts on such an archive")


class Where(Settings):
    """What judges: so many threads here, or a cluster."""

    executor: str = Field("local", pattern=EXECUTOR, description="local, or dask://HOST:PORT")
    threads: StrictInt | None = Field(None, ge=1, description="of local; none takes every core")

    def pool(self, shared: Path) -> AbstractContextManager[Pool]:
        """Open it; a cluster's workers have to see a file as it is here."""
        if self.executor == "local":
            return local_pool(self.threads_here or 1)
        # only who asks for a cluster has Dask
        from inspection.retraining.cluster import cluster_pool

        return cluster_pool(self.executor, shared)

    @property
    def threads_here(self) -> int | None:
        """How many judge at once in this process; none where a cluster does."""
        if self.executor != "local":
            return None
        return self.threads or len(os.sched_getaffinity(0))


HERE = Where()


def rejudge(
    bundle: Path,
    archive: Path,
    out: Path,
    *,
    band: Band | None = None,
    where: Where = HERE,
    allow_refused: bool = False,
) -> Rejudged:
    """Judge an archive with a bundle; what an earlier call finished is not done again.

    Leaves `out/NUMBER-HASH.jsonl`, one per chunk in the archive's order, and `out/summary.json`.

    Args:
        bundle: folder of the bundle.
        archive: as `open_archive` takes it.
        out: folder; chunks of another bundle, band or archive that lie there are removed.
        band: thresholds instead of the bundle's.
        where: what judges.
        allow_refused: judge though the gate refused the bundle.

    Raises:
        BundleError: the bundle cannot be opened, here or on a worker.
        DatasetError, ConfigError: as for `open_archive`; it has no picture, or a worker does not
            see it; what lies in `out` stays.
        ClusterAway: the cluster is gone; asking again goes on.
        InspectionError: `out` cannot be written.
    """
    bundle = bundle.resolve()
    released = read_released(bundle, allow_refused=allow_refused)
    band = band or released.card.band
    pictures = open_archive(archive, released.card.name)
    digest = functools.partial(_digest, released.bundle_id, band)
    tally, paths, framings = _Tally(), set[Path](), Framings()

    def left() -> Iterator[tuple[Path, Callable[[], str]]]:
        for number, chunk in enumerate(_chunks(pictures)):
            path = out / f"{number:07d}-{digest(chunk)[:16]}.jsonl"
            paths.add(path)
            framings.update(one.framing for one in chunk)
            if path.is_file():
                advance(tally.take(path.read_text(encoding="utf-8")))
            else:
                arguments = str(bundle), released.bundle_id, band, where.threads_here
                yield path, functools.partial(judge_chunk, chunk, *arguments)

    total = _count(pictures, archive)
    with advancing(total, "judging") as advance, where.pool(bundle / SUMS) as pool:
        for path, rows in run_all(pool, left()):
            write_text(path, rows)
            advance(tally.take(rows))
    for path in out.iterdir() if out.is_dir() else ():
        if ROWS.fullmatch(path.name) and path not in paths:
            path.unlink()
    summary = tally.summary(released, band, pictures.note(framings))
    write_record(out / SUMMARY, summary)
    return summary


def _count(pictures: Archive, archive: Path) -> int:
    """Count the pictures.

    Raises:
        DatasetError: there is none, which a mount point says of itself while its mount is missing.
    """
    if count := sum(1 for _ in pictures.list()):
        return count
    raise DatasetError(
        f"{archive}: found no picture; wanted at least one, of a station's record a kept frame "
        "with a score; mount the archive or check the path; rows of earlier calls are left alone"
    )


def _chunks(archive: Archive) -> Iterator[Chunk]:
    pictures = archive.list()
    while chunk := tuple(itertools.islice(pictures, CHUNK)):
        yield chunk


def _digest(bundle_id: str, band: Band, chunk: Chunk) -> str:
    """Hash all that decides a chunk's rows; where the archive is mounted does not."""
    files = [
        (one.name, one.size, one.changed_ns, one.then, one.score_then, one.label) for one in chunk
    ]
    rois = [one.roi.model_dump() for one in chunk]
    return hash_json([bundle_id, band.model_dump(), files, rois])


class _Tally:
    """Counts rows as they come, in whatever order."""

    def __init__(self) -> None:
        self._verdicts: Counter[Verdict] = Counter()
        self._labels: Counter[tuple[Label, Verdict]] = Counter()
        self._then: Counter[tuple[Verdict, Verdict]] = Counter()

    def take(self, rows: str) -> int:
        """Count the rows of a chunk, and give how many they are."""
        judged = [Judged.model_validate_json(row) for row in rows.split("\n")[:-1]]
        self._verdicts.update(row.verdict for row in judged)
        self._labels.update((row.label, row.verdict) for row in judged if row.label)
        self._then.update((row.then, row.verdict) for row in judged if row.then)
        return len(judged)

    def summary(self, released: Released, band: Band, note: str) -> Rejudged:
        """Sum up."""
        labels = [label for label in Label if any(label is of for of, _ in self._labels)]
        return Rejudged(
            name=released.card.name,
            bundle_id=released.bundle_id,
            band=band,
            pictures=self._verdicts.total(),
            verdicts={verdict: self._verdicts[verdict] for verdict in Verdict},
            labels={
                label: {verdict: self._labels[label, verdict] for verdict in Verdict}
                for label in labels
            },
            known=self._then.total(),
            changed={
                f"{then} → {now}": self._then[then, now]
                for then in Verdict
                for now in Verdict
                if then is not now and self._then[then, now]
            },
            note=note,
        )
