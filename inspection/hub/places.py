"""Where parts are watched for drift."""

from typing import NamedTuple


class Place(NamedTuple):
    """One bundle on one camera's frames of a product at a station: a lens is one station's."""

    line: str
    product: str
    station: str
    camera: str
    bundle_id: str
