"""The parents of what travels between the hub, stations and clients, and the names in it."""

import re
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
)

from inspection.core.config import Settings
from inspection.core.limits import MAX_NAME, Figure, Line, Share, Total

Name = Annotated[
    Line, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f/\\]+$")
]
"""Of a line, station, product, account; no path and no control character."""
BundleId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AnyName = Annotated[str, Field(max_length=MAX_NAME)]
"""A name that a client asks by; whatever it holds, what is not there is not found."""
RowNumber = Annotated[int, Field(ge=1, lt=2**63)]
"""Of a row, as both databases count."""
WITHOUT_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no NUL in a text
Comment = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]
Why = Annotated[Line, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # NUL and lone halves of UTF-16 pairs


class Refusal(BaseModel):
    """What every answer that is none says; some say more."""

    error: str = Field(description="what is wrong and what to do")


class Answer(BaseModel):
    """Parent of what the hub answers; what a newer hub adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Request(Settings):
    """Parent of what a client sends; an unknown key is a mistake, and said to be one."""

    @field_validator("*")
    @classmethod
    def _can_be_kept(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and NO_TEXT.search(text):
            raise ValueError("holds a NUL or half a character, which is no text; leave it out")
        return value


ItemT = TypeVar("ItemT")


class Page(Answer, Generic[ItemT]):
    """Some of many, the newest first."""

    items: tuple[ItemT, ...]
    next: str | None = Field(description="give it as `after` for what follows; none at the end")


class Rate(Answer):
    """A share of parts with its 95 % interval (Wilson); nothing is known of no parts."""

    count: Total
    of: Total
    value: Figure | None = Field(description="count / of; none when of is 0")
    low: Share
    high: Share
