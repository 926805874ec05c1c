import pytest

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError
from inspection.station.settings import StationConfig

pytestmark = pytest.mark.fast

TOKEN = "sixteen-or-more-characters"


@pytest.mark.parametrize(
    ("host", "token", "refused"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),
        ("192.168.0.10", None, True),
        ("::", None, True),
        ("station.plant", None, True),
        ("192.168.0.10", TOKEN, False),
    ],
)
def test_parts_of_strangers_are_refused(host: str, token: str | None, refused: bool):
    """Beyond this machine only who knows the token brings parts; the refusal says what to do."""
    source = "{kind: push}" if token is None else f"{{kind: push, token: {token}}}"
    text = f"source: {source}\nweb: {{host: '{host}'}}\n"
    if refused:
        with pytest.raises(ConfigError, match=r"has no token, and web\.host .*set source\.token"):
            parse_config(text, StationConfig, "station.yaml")
    else:
        assert parse_config(text, StationConfig, "station.yaml").web is not None
