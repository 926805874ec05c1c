"""Counts the frames of a camera's stream that were made and never came."""

import logging

logger = logging.getLogger(__name__)

NUMBERS_16_BIT = 2**16 - 1  # GigE Vision without extended ids: 1 to 65,535, and 1 again
# A stream that lacks more frames than this broke off: its numbers no longer tell how many parts
# passed (16 bits wrap, a camera that was reset begins anew), and a thousand FAULT parts of one
# outage would only hide it. It is one FAULT part, like every other outage.
MOST_LOST = 1_000


class LostFrames:
    """The frames of one stream that are missing, by the numbers the camera gives its frames.

    Before the first frame nothing is missing: not every camera begins with the same number. The
    driver knows besides when it had no free buffer; where no gap in the numbers follows, they hide
    losses, as those of cameras do that always give 0.

    Args:
        camera: for the log.
        buffers: of the stream. When none was free they held the frames before the loss.
        numbers_tell: the camera's transport numbers every frame that is made, sent or not.
    """

    def __init__(self, camera: str, buffers: int, *, numbers_tell: bool) -> None:
        self._camera = camera
        self._buffers = buffers
        self._numbers_tell = numbers_tell
        self._numbered = True
        self._last: int | None = None
        self._came = 0  # since the last number, this one included
        self._shortages = 0
        self._before_loss: int | None = None  # frames to come that were made before a shortage

    def before(self, number: int | None) -> int | None:
        """Count the frames that are missing before this one; none when nobody can know.

        Args:
            number: the camera's number of the frame; none for an incomplete frame, which may lack
                the very packet that brings it. The next number tells what was missing around it.
        """
        self._came += 1
        due = self._before_loss == 0
        if self._before_loss:
            self._before_loss -= 1
        if number is None:
            return 0
        missing = self._missing_before(number)
        self._last, self._came = number, 0
        if missing:
            self._before_loss = None  # told
        elif due and not self._numbers_tell:
            return None
        if not 0 <= missing <= MOST_LOST:
            return None
        if missing:
            fields = {"camera": self._camera, "lost": missing, "before": number}
            logger.warning("frames lost", extra=fields)
        return missing

    def note_shortages(self, shortages: int) -> None:
        """Take how often no buffer was free so far, just before one that was read goes back."""
        if shortages > self._shortages and self._before_loss is None:
            self._before_loss = self._buffers - 1
        self._shortages = shortages

    def _missing_before(self, number: int) -> int:
        if self._last is None:
            return 0
        if number == self._last == 0:
            if self._numbered:
                logger.warning("camera numbers no frames", extra={"camera": self._camera})
            self._numbered = self._numbers_tell = False
            return 0
        step = number - self._last
        if step < 0 and self._last <= NUMBERS_16_BIT:
            step += NUMBERS_16_BIT + (number == 0)
        return step - self._came
