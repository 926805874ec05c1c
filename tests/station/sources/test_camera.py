import numpy as np
import pytest

from inspection.core.errors import ImageError
from inspection.station.sources.camera import public_address, rgb_of

pytestmark = pytest.mark.fast
HW = (12, 20)


def grey(levels: tuple[int, int, int]) -> np.ndarray:
    """Make an RGB frame of one colour."""
    return np.full((*HW, 3), levels, np.uint8)


def test_colour_stays_as_it_is():
    """RGB frames are RGB."""
    assert rgb_of(grey((1, 2, 3)), "cam", grey=False)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [HW, (*HW, 1)], ids=["two axes", "one channel"])
def test_grey_is_repeated(shape: tuple[int, ...]):
    """One declared grey channel becomes three equal ones."""
    pixels = rgb_of(np.full(shape, 7, np.uint8), "cam", grey=True)
    assert (pixels.shape, pixels.dtype) == ((*HW, 3), np.uint8)
    assert (pixels == 7).all()


def test_grey_in_three_channels_is_taken_from_green():
    """Codecs bring grey back as three nearly equal channels; green is the nearest."""
    assert (rgb_of(grey((38, 40, 38)), "cam", grey=True) == 40).all()


REFUSED = {
    "grey taken for colour": (np.zeros(HW, np.uint8), False, "one grey channel; .* grey: true"),
    "colour taken for grey": (grey((10, 40, 90)), True, "up to 50 levels apart; .* grey: false"),
    "16 bits": (np.zeros((*HW, 3), np.uint16), False, r"image is uint16 \(12, 20, 3\); wanted"),
    "16-bit grey": (np.zeros(HW, np.uint16), True, r"image is uint16 \(12, 20\); wanted uint8"),
    "four channels": (np.zeros((*HW, 4), np.uint8), False, r"image is uint8 \(12, 20, 4\)"),
    "too small": (np.zeros((4, 4, 3), np.uint8), False, "image is 4×4 px; wanted sides from 8"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_frames_are_refused(kind: str):
    """What the configuration does not say is refused by what was found."""
    frame, is_grey, message = REFUSED[kind]
    with pytest.raises(ImageError, match=f"^cam: .*{message}"):
        rgb_of(frame, "cam", grey=is_grey)


def test_credentials_stay_out_of_records():
    """User and password of a network camera are never told."""
    assert public_address("rtsp://user:p@ss@cam.line/stream") == "rtsp://cam.line/stream"
    assert public_address("/dev/video0") == "/dev/video0"
