"""Runs a converted SAM, SAM 2 or EdgeTAM on OpenVINO.

The image is encoded once; a prompt costs the decoder only. Conversion is `review.convert`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inspection.bundles.bundle import open_graph
from inspection.bundles.graph import ONE_AT_A_TIME, Compiling, NamedGraph, Tensors
from inspection.bundles.seal import Sealed
from inspection.core.imaging import Mask, Rgb, require_rgb8, resize
from inspection.core.limits import PathText, Px, Sha256
from inspection.core.records import Origin, PixelNorm, Record, Weights
from inspection.masks.segmenter import Candidates, Floats, Prompt

CARD, ENCODER, DECODER = "segmenter.json", "encoder.xml", "decoder.xml"
FILES = (ENCODER, "encoder.bin", DECODER, "decoder.bin")
# Labels of what a prompt shows, as SAM's prompt encoder has them (transformers' SamModel):
NEGATIVE, POSITIVE, BOX_START, BOX_END, NOT_A_POINT, ABSENT = 0, 1, 2, 3, -1, -10
TOKENS_STEP = 8  # each number of tokens is compiled anew, which a click would wait for
DRAWN, CLICK_CELLS = 4.0, 1  # logit of a drawn prompt; radius of a click, of the mask prompt
BATCH = 8  # prompts at once: more are hardly faster, and 16 take 1 GB with SAM's own sizes
Kind = Literal["sam", "sam2", "edgetam"]


class SegmenterCard(Record):
    """What a converted segmenter is and how it was made."""

    kind: Kind
    side_px: Px = Field(description="of the square that the encoder sees")
    mask_px: Px = Field(description="side of the mask prompt and of the masks it gives")
    keeps_aspect: bool = Field(description="padded right and below; else stretched to the square")
    draws_prompts: bool = Field(
        default=False, description="it learnt to see boxes and clicks in the mask prompt, too"
    )
    precision: Literal["int8", "fp32"] = Field(description="of the encoder; the decoder is fp32")
    pixels: PixelNorm
    weights: Weights
    images_sha256: Sha256 = Field(description="of what INT8's ranges were collected on")
    key: Sha256 = Field(description="hash of all that decides the graphs")
    origin: Origin
    files: dict[PathText, Sha256] = Field(
        max_length=1_000, description="sha256 of every other file of the folder"
    )


@dataclass(frozen=True)
class Fit:
    """How an image lies in the encoder's square."""

    side_px: int
    image_hw: tuple[int, int]
    keeps_aspect: bool

    @property
    def seen_hw(self) -> tuple[int, int]:
        """Height and width of the image within the square, from its upper left."""
        if not self.keeps_aspect:
            return self.side_px, self.side_px
        height, width = (
            int(length * self.side_px / max(self.image_hw) + 0.5) for length in self.image_hw
        )
        return max(1, height), max(1, width)

    def pixels(self, image: Rgb) -> Rgb:
        """Resize an image into the square, uint8 side×side×3; what it does not cover is 0."""
        height, width = self.seen_hw
        square = np.zeros((self.side_px, self.side_px, 3), np.uint8)
        square[:height, :width] = resize(image, height, width)
        return square

    def inputs(self, image: Rgb) -> Tensors:
        """Give the encoder's inputs: the square and how much of it is image.

        The encoder makes the rest 0 after it normalised the pixels, as the models were trained.
        """
        covered = {"seen_hw": np.array(self.seen_hw, np.int32)} if self.keeps_aspect else {}
        return {"pixels": self.pixels(image)[None], **covered}

    def places(self, points: NDArray[Any]) -> Floats:
        """Scale (n, 2) places x y in px of the image to px of the square, the nearest within it."""
        (height, width), (seen_height, seen_width) = self.image_hw, self.seen_hw
        within = np.clip(points, 0, (width, height))
        return np.asarray(within * (seen_width / width, seen_height / height), np.float32)

    def mask(self, guess: Floats, mask_px: int) -> Floats:
        """Resize a mask prompt like the image; what it does not cover is as quiet as its least."""
        height, width = (max(1, round(seen * mask_px / self.side_px)) for seen in self.seen_hw)
        square = np.full((mask_px, mask_px), min(0.0, float(guess.min())), np.float32)
        square[:height, :width] = cv2.resize(
            np.ascontiguousarray(guess, np.float32), (width, height), interpolation=cv2.INTER_AREA
        )
        return square

    def enlargement(self, mask_px: int) -> tuple[Floats, Floats]:
        """Give what enlarges a mask: (H, mask_px) for its rows and (W, mask_px) for its columns.

        Bilinear, as transformers' processors do it: to the image at once, or, where the image was
        padded, to the square and what the image covers of it to the image. An enlarged identity is
        the matrix of this.
        """
        identity = np.eye(mask_px, dtype=np.float32)
        square = _stretched(identity, self.side_px) if self.keeps_aspect else identity
        rows, columns = (
            _stretched(square[:seen], length)
            for seen, length in zip(self.seen_hw, self.image_hw, strict=True)
        )
        return rows, columns


def _stretched(matrix: Floats, rows: int) -> Floats:
    size_wh = matrix.shape[1], rows
    return np.asarray(cv2.resize(matrix, size_wh, interpolation=cv2.INTER_LINEAR), np.float32)


class Sam:
    """A converted segmenter; for several threads at once.

    Args:
        folder: of a conversion whose bytes were checked; `masks.opening` does.
        card: that stands in it.
        compiling: how OpenVINO uses the processor.

    Raises:
        BundleCorrupt: its graphs are not those of the card.
        BundleUnavailable: OpenVINO cannot load or compile it.
    """

    def __init__(
        self, folder: Path, card: SegmenterCard, compiling: Compiling = ONE_AT_A_TIME
    ) -> None:
        self.card = card
        sealed = Sealed(folder, card.key, card.files)
        self._encode = NamedGraph(open_graph(sealed, ENCODER), compiling)
        self._decode = NamedGraph(open_graph(sealed, DECODER), compiling)

    @property
    def name(self) -> str:
        """Which segmenter with which weights."""
        return f"{self.card.kind} {self.card.precision}: {self.card.weights}"

    @property
    def side_px(self) -> int:
        """Longest side it sees without reducing."""
        return self.card.side_px

    def set_image(self, pixels: Rgb) -> "SamImage":
        """Encode an image, uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        require_rgb8(pixels, "image to segment")
        card = self.card
        fit = Fit(card.side_px, (pixels.shape[0], pixels.shape[1]), card.keeps_aspect)
        features = self._encode(fit.inputs(pixels))
        return SamImage(card, self._decode, features, fit, fit.enlargement(card.mask_px))


@dataclass(frozen=True)
class SamImage:
    """An encoded image to be asked about; for several threads at once."""

    card: SegmenterCard
    decode: NamedGraph
    features: Tensors
    """The encoder's outputs by name, which are the decoder's inputs."""
    fit: Fit
    enlargement: tuple[Floats, Floats]

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Answer each prompt with the masks a SAM gives for one that may mean several things.

        What one prompt gets does not depend on the others.

        Raises:
            ConfigError: a prompt does not fit the image.
        """
        for prompt in prompts:
            prompt.require_fitting(*self.fit.image_hw)
        return [
            answer
            for start in range(0, len(prompts), BATCH)
            for answer in self._answer(prompts[start : start + BATCH])
        ]

    def _answer(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        card = self.card
        inputs = lay_tokens(prompts, self.fit, card.mask_px, card.kind, draws=card.draws_prompts)
        found = self.decode({**inputs, **self.features})
        return [
            Candidates(np.stack([_enlarged(one, *self.enlargement) for one in logits]), sure)
            for logits, sure in zip(found["logits"], found["sure"], strict=True)
        ]


def lay_tokens(
    prompts: Sequence[Prompt], fit: Fit, mask_px: int, kind: Kind, *, draws: bool
) -> Tensors:
    """Give the decoder's inputs for n prompts on one image.

    Args:
        prompts: in px of the image.
        fit: of the image in the encoder's square.
        mask_px: side of the mask prompt.
        kind: of the model.
        draws: boxes and clicks in the mask prompt where there is no guess.

    Returns:
        points float32 (n, k, 2) and labels int32 (n, k), filled up by ABSENT to a multiple of 8;
        guesses float32 (n, 1, mask_px, mask_px), and guessed, bool (n,): which of them count.
    """
    asked = [_tokens(prompt, fit, kind) for prompt in prompts]
    most = -(-max(len(labels) for _, labels in asked) // TOKENS_STEP) * TOKENS_STEP
    points = np.zeros((len(asked), most, 2), np.float32)
    labels = np.full((len(asked), most), ABSENT, np.int32)
    guesses = np.zeros((len(asked), 1, mask_px, mask_px), np.float32)
    guessed = np.array([draws or prompt.mask is not None for prompt in prompts])
    for i, (prompt, (places, meanings)) in enumerate(zip(prompts, asked, strict=True)):
        points[i, : len(places)], labels[i, : len(places)] = places, meanings
        if guessed[i]:
            guesses[i, 0] = lay_mask(prompt, fit, mask_px)
    return {"points": points, "labels": labels, "guesses": guesses, "guessed": guessed}


def lay_mask(prompt: Prompt, fit: Fit, mask_px: int) -> Floats:
    """Give the mask prompt, mask_px×mask_px: the guess, or else the box and the clicks, drawn.

    Drawn is DRAWN where the defect is said to be, -DRAWN where it is not, 0 where nobody knows.
    """
    if prompt.mask is not None:
        return fit.mask(prompt.mask, mask_px)
    drawn = np.zeros((mask_px, mask_px), np.float32)
    scale = mask_px / fit.side_px
    if prompt.box is not None:
        (x0, y0), (x1, y1) = fit.places(np.reshape(prompt.box, (2, 2))) * scale
        cells = np.arange(mask_px)
        in_x, in_y = (
            np.clip(np.minimum(end, cells + 1) - np.maximum(start, cells), 0, 1)
            for start, end in ((x0, x1), (y0, y1))
        )
        cover = np.outer(in_y, in_x)
        drawn = np.asarray(DRAWN * (2 * cover / cover.max() - 1), np.float32)  # thin boxes, too
    for radius in (CLICK_CELLS, 0):  # of clicks side by side each keeps its own cell
        for points, value in ((prompt.positive, DRAWN), (prompt.negative, -DRAWN)):
            for x, y in np.floor(fit.places(points) * scale).astype(int).tolist():
                cv2.circle(drawn, (x, y), radius, value, cv2.FILLED)
    return drawn


def _tokens(prompt: Prompt, fit: Fit, kind: Kind) -> tuple[Floats, list[int]]:
    """Give the places in the encoder's square, (n, 2), and what each of them means.

    As the models were trained, SAM sees a point that is none wherever there is no box, SAM 2 and
    EdgeTAM always, and twice where the mask is all there is.
    """
    corners = np.reshape(prompt.box or (), (-1, 2))
    places = np.concatenate([prompt.positive, prompt.negative, corners])
    labels = [POSITIVE] * len(prompt.positive) + [NEGATIVE] * len(prompt.negative)
    labels += [BOX_START, BOX_END] * (prompt.box is not None)
    of_sam = int(bool(labels) and prompt.box is None)
    nothing = of_sam if kind == "sam" else 2 - bool(labels)
    padded = np.concatenate([fit.places(places), np.zeros((nothing, 2), np.float32)])
    return padded, labels + [NOT_A_POINT] * nothing


def _enlarged(logits: Floats, rows: Floats, columns: Floats) -> Mask:
    """Enlarge logits (h, w) to bool (H, W), above 0, by (H, h) and (W, w).

    Only the window that positive logits reach is computed: beside it nothing is above 0.
    """
    positive = logits > 0
    mask = np.zeros((len(rows), len(columns)), np.bool_)
    if positive.any():
        y = np.flatnonzero(rows @ positive.any(axis=1))
        x = np.flatnonzero(columns @ positive.any(axis=0))
        window = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
        mask[window] = rows[window[0]] @ logits @ columns[window[1]].T > 0
    return mask
