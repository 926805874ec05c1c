"""Says what of a graph's raw outputs speaks against the layout they were read by."""

from collections.abc import Iterator

import numpy as np

from inspection.detectors.decoding import Candidates
from inspection.detectors.fitting import Fit

TOLERANCE = 1e-3  # of shares
MOST_ODD = 0.1  # share of the sure candidates; an export has a few at the picture's sides
MOST_SURE = 0.5  # share of all candidates of a head that does not suppress
LEAST_PX = 2.0  # sides of a box below it are shares of the input, not px
BEYOND = 0.5  # of the input's sides: no box reaches so far out of it


def doubts(found: Candidates, fit: Fit, least_score: float, *, dense: bool) -> Iterator[str]:
    """Say what is odd, each with the part of the layout that may be wrong.

    Args:
        found: what stands in the outputs of one picture, boxes in px of the input.
        fit: how the picture lay in it.
        least_score: from which a candidate counts.
        dense: overlapping boxes are still there, most of them unsure.
    """
    scores = found.scores[np.isfinite(found.scores)]
    if len(scores) and (scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE):
        yield (
            f"scores go from {scores.min():.3g} to {scores.max():.3g}; wanted 0 to 1; look at "
            "scores: output, columns, activation"
        )
        return
    sure = found.boxes[found.scores >= least_score]
    if dense and len(sure) > MOST_SURE * len(found.boxes):
        yield (
            f"{len(sure)} of {len(found.boxes)} candidates are sure; wanted a few; look at scores, "
            "objectness and background"
        )
    if not len(sure):
        return
    first, last = sure[:, :2], sure[:, 2:]
    turned = float((last <= first).any(axis=1).mean())
    if turned > MOST_ODD:
        yield f"{turned:.0%} of the boxes end before they begin; look at boxes.form"
    elif float(np.median(last - first)) < LEAST_PX:
        yield (
            f"half of the boxes' sides are below {LEAST_PX:g} px of the input; look at boxes.unit "
            "and boxes.form"
        )
    height, width = fit.input_hw
    far = np.array([width, height]) * BEYOND
    beyond = float(((first < -far) | (last > far * 3)).any(axis=1).mean())
    if beyond > MOST_ODD:
        yield (
            f"{beyond:.0%} of the boxes reach far beyond the input; look at boxes.form, boxes.unit "
            "and the size of the input"
        )
