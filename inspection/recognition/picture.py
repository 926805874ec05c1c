"""Draws what a detector found on a picture, for a person who checks it."""

import cv2
import numpy as np

from inspection.core.imaging import Rgb
from inspection.detectors.detections import Detections

COLOURS = ((230, 80, 60), (60, 140, 230), (70, 180, 80), (220, 160, 40), (160, 90, 200))
LEAST_PX = 480  # shorter pictures are enlarged, so that the words can be read
TINT = 0.4


def draw_detections(pixels: Rgb, found: Detections, types: tuple[str, ...]) -> Rgb:
    """Draw boxes, types and scores, and tint masks.

    Args:
        pixels: uint8 H×W×3 RGB.
        found: on them.
        types: the detector's.
    """
    scale = max(1, -(-LEAST_PX // max(pixels.shape[:2])))
    tinted = pixels.copy()
    for mask, (x0, y0, x1, y1), kind in zip(
        found.masks or (), found.px_boxes, found.types, strict=False
    ):
        part = tinted[y0:y1, x0:x1]
        tint = np.array(COLOURS[kind % len(COLOURS)])
        part[mask] = (part[mask] * (1 - TINT) + tint * TINT).astype(np.uint8)
    drawn = cv2.resize(tinted, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    for box, kind, score in zip(found.boxes, found.types, found.scores, strict=True):
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        colour = COLOURS[kind % len(COLOURS)]
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), colour, 2)
        place = x0, max(12, y0 - 4)
        words = f"{types[kind]} {score:.2f}"
        for line, ink in ((3, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.putText(drawn, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, line, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)
