import pytest

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError
from inspection.station.settings import StationConfig

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("source", ["{kind: push}", "{kind: push, token_file: null}"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "192.168.0.10", "station.plant"])
def test_parts_of_strangers_are_refused(host: str, source: str):
    """Only who knows the token brings parts, also on this machine; the refusal says what to do."""
    text = f"source: {source}\nweb: {{host: '{host}', exposed: true}}\n"
    with pytest.raises(
        ConfigError, match=r"source\.push: .*there is no token_file, .*openssl rand.*token_file$"
    ):
        parse_config(text, StationConfig, "station.yaml")


def test_source_with_a_token_is_taken():
    """The file is read when the station starts."""
    text = "source: {kind: push, token_file: push.token}\nweb: {host: '127.0.0.1'}\n"
    source = parse_config(text, StationConfig, "station.yaml").source
    assert source.kind == "push"
    assert str(source.token_file) == "push.token"
