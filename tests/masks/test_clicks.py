"""Clicks: one embedding per window of an image, windows at full resolution, errors in words."""

import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from inspection.core.errors import ConfigError, ImageError
from inspection.core.imaging import Rgb
from inspection.masks.clicks import Clicks
from inspection.masks.grabcut import GrabCut
from inspection.masks.segmenter import Candidates, Points, Prompt

pytestmark = pytest.mark.fast


class Flood:
    """Outlines the bright area at the first positive point, or at the middle of box or mask."""

    name = "flood"

    def __init__(self, side_px: int | None = 64) -> None:
        self.side_px = side_px
        self.seen: list[tuple[int, ...]] = []
        """Heights and widths of what was set, in order."""
        self.asked: list[Prompt] = []
        self.failures = 0
        self.hold: threading.Event | None = None

    def set_image(self, pixels: Rgb) -> "FloodImage":
        """Count, wait where a test holds it, and keep the image."""
        self.seen.append(pixels.shape[:2])
        if self.hold:
            self.hold.wait(10)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("out of memory")
        return FloodImage(self, pixels)


class FloodImage:
    """A bright area is connected pixels above 128."""

    def __init__(self, owner: Flood, pixels: Rgb) -> None:
        _, self.labels = cv2.connectedComponents((pixels[:, :, 0] > 128).astype(np.uint8))
        self.owner = owner

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Give the whole image, nothing, and the area; the segmenter is surest of the area."""
        self.owner.asked += prompts
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Candidates:
        if len(prompt.positive):
            x, y = prompt.positive[0]
        elif prompt.box:
            x, y = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
        else:
            y, x = np.argwhere(prompt.mask > 0)[0]
        label = self.labels[int(y), int(x)]
        area = (self.labels == label) & (label > 0)
        masks = np.stack((np.ones_like(area), np.zeros_like(area), area))
        return Candidates(masks, np.asarray((0.2, 0.5, 0.9), np.float32))


def at(*places: tuple[float, float]) -> Points:
    """Points of x and y."""
    return np.asarray(places, np.float32)


def image(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Rgb:
    """A dark image with bright boxes x0, y0, x1, y1."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 200
    return pixels


def boxed(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """The mask of the bright boxes."""
    return image(height, width, *boxes)[:, :, 0] > 128


def test_the_outline_the_segmenter_is_surest_of_is_taken():
    """Clicks have no map to choose by."""
    mask = Clicks(Flood()).outline(image(40, 60, (10, 5, 30, 15)), positive=at((12, 8)))
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, boxed(40, 60, (10, 5, 30, 15)))


def test_a_second_click_does_not_embed_again():
    """The image is known by its content, so a fresh copy of it is the same image."""
    flood = Flood()
    clicks, pixels = Clicks(flood), image(40, 60, (10, 5, 30, 15))
    clicks.outline(pixels, positive=at((12, 8)))
    clicks.outline(pixels.copy(), positive=at((12, 8), (20, 9)), negative=at((50, 30)))
    assert flood.seen == [(40, 60)]
    assert np.array_equal(flood.asked[1].negative, at((50, 30)))


def test_a_changed_image_is_embedded_again():
    """Writing into the array one clicked on must not answer from what it was before."""
    flood = Flood()
    clicks, pixels = Clicks(flood), image(40, 60, (10, 5, 30, 15))
    clicks.outline(pixels, positive=at((12, 8)))
    pixels[:] = image(40, 60, (40, 20, 50, 30))
    assert np.array_equal(
        clicks.outline(pixels, positive=at((42, 22))), boxed(40, 60, (40, 20, 50, 30))
    )
    assert len(flood.seen) == 2


def test_same_bytes_of_another_shape_are_another_image():
    """Grey images of 40×60 and 60×40 px have the same bytes."""
    flood = Flood()
    clicks = Clicks(flood)
    clicks.outline(image(40, 60), box=(2, 2, 9, 9))
    clicks.outline(image(60, 40), box=(2, 2, 9, 9))
    assert flood.seen == [(40, 60), (60, 40)]


def test_kept_images_do_not_follow_the_callers_array():
    """GrabCut keeps the pixels; the caller may fill the same array with the next frame."""
    pixels = image(40, 60, (10, 5, 30, 15))
    clicks, before = Clicks(GrabCut()), pixels.copy()
    first = clicks.outline(pixels, box=(6, 2, 34, 19))
    pixels[:] = 40
    assert np.array_equal(clicks.outline(before, box=(6, 2, 34, 19)), first)
    assert np.array_equal(first, boxed(40, 60, (10, 5, 30, 15)))


def test_only_so_many_images_are_kept_those_used_last():
    """Of two places the one not asked for longest goes."""
    flood = Flood()
    clicks = Clicks(flood, most_images=2)
    one, two, three = image(20, 31), image(20, 32), image(20, 33)
    for pixels in (one, two, one, three, one, two):
        clicks.outline(pixels, box=(2, 2, 9, 9))
    assert [width for _, width in flood.seen] == [31, 32, 33, 32]


def test_two_reviewers_of_one_image_embed_it_once():
    """The second thread waits for the embedding of the first."""
    flood, pixels, masks = Flood(), image(40, 60, (10, 5, 30, 15)), []
    flood.hold = threading.Event()
    clicks = Clicks(flood)
    threads = [
        threading.Thread(target=lambda: masks.append(clicks.outline(pixels, positive=at((12, 8)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)  # long enough for all to come to the image that is being embedded
    flood.hold.set()
    for thread in threads:
        thread.join(10)
    assert flood.seen == [(40, 60)]
    assert len(masks) == 4
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_one_image_does_not_wait_for_another():
    """While one is being embedded, clicks on a known one are answered."""
    flood, known, slow = Flood(), image(40, 60), image(40, 61)
    clicks = Clicks(flood)
    clicks.outline(known, box=(2, 2, 9, 9))
    flood.hold = threading.Event()
    thread = threading.Thread(target=lambda: clicks.outline(slow, box=(2, 2, 9, 9)))
    thread.start()
    try:
        clicks.outline(known, box=(3, 3, 9, 9))
        assert len(flood.asked) == 2
    finally:
        flood.hold.set()
        thread.join(10)


def test_an_embedding_that_failed_is_tried_again():
    """The error goes to whoever clicked; the next click starts anew."""
    flood = Flood()
    flood.failures = 1
    clicks = Clicks(flood)
    with pytest.raises(RuntimeError, match="out of memory"):
        clicks.outline(image(40, 60), box=(2, 2, 9, 9))
    clicks.outline(image(40, 60), box=(2, 2, 9, 9))
    assert len(flood.seen) == 2


def test_a_small_defect_of_a_large_image_is_seen_at_full_resolution():
    """The window is as large as the segmenter sees without reducing; the mask is the image's."""
    flood, defect = Flood(side_px=64), (900, 411, 903, 415)
    mask = Clicks(flood).outline(image(600, 1000, defect), positive=at((901, 413)))
    assert flood.seen == [(64, 64)]
    assert np.array_equal(mask, boxed(600, 1000, defect))


@pytest.mark.parametrize("corner", [(0, 0), (999, 0), (0, 599), (999, 599)])
def test_windows_end_where_the_image_does(corner: tuple[int, int]):
    """A defect in a corner is found like any other."""
    x, y = corner
    defect = (min(x, 995), min(y, 595), min(x, 995) + 5, min(y, 595) + 5)
    flood = Flood(side_px=64)
    mask = Clicks(flood).outline(image(600, 1000, defect), positive=at((x + 0.5, y + 0.5)))
    assert np.array_equal(mask, boxed(600, 1000, defect))
    assert flood.seen == [(64, 64)]


def test_a_window_stays_while_further_clicks_fall_into_it():
    """The first point is its anchor; the points after it and the corrected mask do not move it."""
    flood, defect = Flood(side_px=64), (500, 300, 520, 310)
    clicks, pixels = Clicks(flood), image(600, 1000, defect)
    mask = clicks.outline(pixels, positive=at((503, 303)))
    clicks.outline(pixels, positive=at((503, 303), (515, 308)), negative=at((499, 320)))
    clicks.outline(pixels, positive=at((503, 303)), negative=at((522, 300)), earlier=mask)
    assert flood.seen == [(64, 64)]


def test_two_reviewers_who_click_near_each_other_share_a_window():
    """Windows lie on steps of an eighth of their side."""
    flood, defect = Flood(side_px=64), (500, 300, 520, 310)
    clicks, pixels = Clicks(flood), image(600, 1000, defect)
    clicks.outline(pixels, positive=at((510, 305)))
    clicks.outline(pixels, positive=at((511, 306)))
    assert len(flood.seen) == 1


def test_a_click_outside_the_window_widens_it():
    """What belongs to one defect is seen in one window, twice as wide."""
    flood, defect = Flood(side_px=64), (500, 300, 505, 305)
    clicks, pixels = Clicks(flood), image(600, 1000, defect)
    clicks.outline(pixels, positive=at((502, 302)))
    mask = clicks.outline(pixels, positive=at((502, 302), (540, 302)))
    assert flood.seen == [(64, 64), (128, 128)]
    assert np.array_equal(mask, boxed(600, 1000, defect))


def test_an_outline_cut_off_by_the_window_is_asked_for_in_a_wider_one():
    """A scratch longer than the window is outlined whole; the next click finds both kept."""
    flood, scratch = Flood(side_px=64), (400, 300, 560, 304)
    clicks, pixels = Clicks(flood), image(600, 1000, scratch)
    for _ in range(2):
        mask = clicks.outline(pixels, positive=at((480, 302)))
    assert np.array_equal(mask, boxed(600, 1000, scratch))
    assert flood.seen == [(64, 64), (128, 128), (256, 256)]


def test_what_fills_the_image_ends_at_the_whole_image():
    """Nothing is wider than the image."""
    flood = Flood(side_px=64)
    mask = Clicks(flood).outline(image(100, 300, (0, 0, 300, 100)), positive=at((150, 50)))
    assert mask.all()
    assert flood.seen == [(64, 64), (100, 128), (100, 256), (100, 300)]


def test_a_large_box_is_seen_whole():
    """The window holds the box with its margin at once."""
    flood, defect = Flood(side_px=64), (400, 250, 600, 350)
    mask = Clicks(flood).outline(image(600, 1000, defect), box=(390, 240, 610, 360))
    assert flood.seen == [(512, 512)]
    assert np.array_equal(mask, boxed(600, 1000, defect))


def test_prompts_are_told_in_px_of_the_window():
    """Box, points and the earlier mask move together."""
    flood, defect = Flood(side_px=64), (500, 300, 520, 310)
    clicks, pixels = Clicks(flood), image(600, 1000, defect)
    clicks.outline(
        pixels,
        box=(498, 298, 522, 312),
        positive=at((505, 305)),
        negative=at((496, 296)),
        earlier=boxed(600, 1000, defect),
    )
    asked = flood.asked[0]
    x0, y0, x1, y1 = asked.box
    assert (x1 - x0, y1 - y0) == (24, 14)
    assert np.array_equal(asked.positive - at((x0, y0)), at((7, 7)))
    assert np.array_equal(asked.negative - at((x0, y0)), at((-2, -2)))
    assert np.array_equal(asked.mask > 0, boxed(64, 64, (x0 + 2, y0 + 2, x0 + 22, y0 + 12)))
    assert set(np.unique(asked.mask)) == {-10, 10}


def test_a_segmenter_of_any_size_sees_the_whole_image():
    """GrabCut reduces by itself."""
    flood = Flood(side_px=None)
    Clicks(flood).outline(image(300, 500, (10, 10, 20, 20)), positive=at((12, 12)))
    assert flood.seen == [(300, 500)]


def test_an_earlier_mask_alone_is_a_prompt():
    """A negative click corrects the outline that is shown."""
    flood, defect = Flood(side_px=64), (500, 300, 520, 310)
    shown = boxed(600, 1000, (500, 300, 524, 314))
    mask = Clicks(flood).outline(image(600, 1000, defect), negative=at((522, 312)), earlier=shown)
    assert np.array_equal(mask, boxed(600, 1000, defect))
    assert flood.seen == [(64, 64)]


@pytest.mark.parametrize(
    ("clicked", "complaint"),
    [
        ({}, "neither box nor positive point nor mask"),
        ({"negative": at((3, 3))}, "neither box nor positive point nor mask"),
        ({"earlier": np.zeros((40, 60), np.bool_)}, "click on the defect"),
        ({"positive": np.zeros(3, np.float32)}, r"positive points are \(3,\); wanted \(n, 2\)"),
        ({"box": (70, 5, 80, 9)}, "has no area within 60×40 px"),
        ({"earlier": np.ones((60, 40), np.bool_)}, "mask is 40×60 px; wanted 60×40"),
    ],
    ids=["nothing", "negative only", "empty mask", "flat points", "box outside", "mask turned"],
)
def test_clicks_that_do_not_fit_are_refused_before_anything_is_embedded(
    clicked: dict[str, object], complaint: str
):
    """The message says what to do."""
    flood = Flood()
    with pytest.raises(ConfigError, match=complaint):
        Clicks(flood).outline(image(40, 60), **clicked)
    assert flood.seen == []


def test_pixels_that_are_no_rgb_are_refused():
    """As everywhere."""
    with pytest.raises(ImageError, match="image to click on: image is float32"):
        Clicks(Flood()).outline(np.zeros((40, 60, 3), np.float32), box=(2, 2, 9, 9))
