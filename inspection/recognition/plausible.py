"""Says what of a graph's raw outputs speaks against the layout they were read by."""

from collections.abc import Iterator, Sequence

import numpy as np

from inspection.detectors.detections import Candidates

TOLERANCE = 1e-3  # of shares
MOST_ODD = 0.1  # share of the sure candidates of all pictures
MOST_SURE = 0.5  # share of all candidates of a head that does not suppress
SHARES = (-0.5, 1.5)  # between these all corners lie that are shares of the input
BEYOND = 0.5  # of the input's sides: no box reaches so far out of it


def doubts(
    read: Sequence[Candidates], input_hw: tuple[int, int], least_score: float, *, dense: bool
) -> Iterator[str]:
    """Say what is odd, each with the part of the layout that may be wrong.

    Args:
        read: what stands in the outputs of each picture, boxes in px of the input.
        input_hw: height and width of the input, px.
        least_score: from which a candidate counts.
        dense: overlapping boxes are still there, most of them unsure.
    """
    scores = np.concatenate([one.scores for one in read])
    boxes = np.concatenate([one.boxes for one in read])
    told = scores[np.isfinite(scores)]
    if len(told) and (told.min() < -TOLERANCE or told.max() > 1 + TOLERANCE):
        yield (
            f"scores go from {told.min():.3g} to {told.max():.3g}; wanted 0 to 1; look at scores: "
            "output, columns, activation"
        )
        return
    sure = boxes[scores >= least_score]
    if dense and len(sure) > MOST_SURE * len(boxes):
        yield (
            f"{len(sure)} of {len(boxes)} candidates are sure; wanted a few; look at scores, "
            "objectness and background"
        )
    if not len(sure):
        return
    first, last = sure[:, :2], sure[:, 2:]
    turned = float((last < first).any(axis=1).mean())
    if turned > MOST_ODD:
        yield f"{turned:.0%} of the boxes end before they begin; look at boxes.form"
    if SHARES[0] <= sure.min() and sure.max() <= SHARES[1]:
        yield "all boxes lie within a px of the input's corner; look at boxes.unit"
    height, width = input_hw
    far = np.array([width, height]) * BEYOND
    beyond = float(((first < -far) | (last > far * 3)).any(axis=1).mean())
    if beyond > MOST_ODD:
        yield (
            f"{beyond:.0%} of the boxes reach far beyond the input; look at boxes.form, boxes.unit "
            "and the size of the input"
        )
