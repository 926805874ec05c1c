"""Names what can move on a line, and what to do about each; apart from the statistics of it."""

from datetime import timedelta
from enum import StrEnum

STAYS = timedelta(hours=8)  # a shift: long enough to look at the lamp or the fixture


class Cause(StrEnum):
    """What has moved; each has its own advice."""

    LIGHT = "light"
    FOCUS = "focus"
    POSITION = "position"
    TEXTURE = "texture"
    FEATURES = "features"  # the pooled embedding, and none of the above
    SCORE = "score"  # the raw score, and none of the above


MATERIAL = (Cause.TEXTURE, Cause.FEATURES, Cause.SCORE)
"""What moves the scores of good parts for as long as the material is what it is."""
IMAGE = (Cause.LIGHT, Cause.FOCUS, Cause.POSITION, Cause.TEXTURE)
"""What is seen in the picture itself, whatever the bundle makes of it."""


def explains(one: Cause, other: Cause) -> bool:
    """Say whether the other only follows where this one has moved."""
    if other is Cause.SCORE:
        return one is not Cause.SCORE
    return other is Cause.FEATURES and one in IMAGE


def may_bring(one: Cause, other: Cause) -> bool:
    """Say whether one may move the other along a little, as another light does sharpness."""
    return one is not other and (explains(one, other) or (one in IMAGE and other in IMAGE))


class Advice(StrEnum):
    """What to do."""

    CLEAN = "clean"  # the lens; a dirty one is not to be learnt
    ADJUST = "adjust"  # lamp, exposure, fixture
    REFIT = "refit"  # thresholds
    RETRAIN = "retrain"


AT_ONCE = {
    Cause.LIGHT: Advice.ADJUST,
    Cause.FOCUS: Advice.CLEAN,
    Cause.POSITION: Advice.ADJUST,
    Cause.TEXTURE: Advice.RETRAIN,
    Cause.FEATURES: Advice.RETRAIN,
    Cause.SCORE: Advice.REFIT,
}
BY_HAND = tuple(one for one in Cause if AT_ONCE[one] in {Advice.CLEAN, Advice.ADJUST})
"""What somebody at the line can mend: what was seen until then is not to be learnt."""
IF_IT_STAYS = AT_ONCE | {Cause.LIGHT: Advice.REFIT, Cause.POSITION: Advice.RETRAIN}
TO_DO = {
    Cause.LIGHT: "Check lamp and exposure; if it stays, fit the thresholds again or retrain.",
    Cause.FOCUS: "Clean the lens and check its focus.",
    Cause.POSITION: "Check the fixture and the trigger; if it stays, retrain.",
    Cause.TEXTURE: "Retrain with the new material, unless the lens was cleaned just now.",
    Cause.FEATURES: "Look at some parts of late; where they are good, review them and retrain.",
    Cause.SCORE: "Look at some parts of late, review them and fit the thresholds again.",
}


def advise(cause: Cause, stood: timedelta, *, guarded: bool = False) -> Advice:
    """Say what to do about a cause that has stood so long.

    Frames that a station's guards hold are REVIEW whatever the thresholds: only another bundle,
    whose guards know such pictures, lets them pass.
    """
    advice = (IF_IT_STAYS if stood >= STAYS else AT_ONCE)[cause]
    return Advice.RETRAIN if guarded and advice is Advice.REFIT else advice
