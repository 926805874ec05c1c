import pytest

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError
from inspection.dashboard.settings import DashboardConfig
from inspection.hub.settings import HubConfig
from inspection.station.settings import StationConfig
from inspection.station.sources.settings import CameraSettings

pytestmark = pytest.mark.fast

PASSWORD = "username: plc, password_file: secret"
TLS = "tls: {certificate: a.pem, private_key: a.key}"
SECRETS = {
    "MQTT password": (
        "outputs: [{{kind: mqtt, host: '{host}', {extra}username: plc, password_file: secret}}]",
        "username and password_file",
        "tls_ca: ca.pem, ",
    ),
    "OPC UA password": (
        "outputs: [{{kind: opcua, host: '{host}', {extra}username: plc, password_file: secret}}]",
        "username and password_file",
        "certificate: a.der, private_key: a.pem, ",
    ),
    "hub token": (
        "outputs: [{{kind: hub, {extra}url: 'http://{host}:8100', token_file: token}}]",
        "token_file",
        None,
    ),
    "webhook token": (
        "outputs: [{{kind: webhook, {extra}url: 'http://{host}/events', token_file: token}}]",
        "token_file",
        None,
    ),
    "hub name and password in the url": (
        "outputs: [{{kind: hub, {extra}url: 'http://a:b@{host}:8100'}}]",
        "url",
        None,
    ),
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("host", ["192.168.0.10", "hub.plant"])
def test_secret_in_clear_to_another_machine_is_refused(name: str, host: str):
    """The refusal names the setting, what is expected, and the setting that says it is meant."""
    text, setting, encrypted = SECRETS[name]
    said = f"{setting} .*'{host}'.* clear.*expected .*exposed: true"
    with pytest.raises(ConfigError, match=said):
        parse_config(text.format(host=host, extra=""), StationConfig, "station.yaml")
    meant = text.format(host=host, extra="exposed: true, ")
    assert parse_config(meant, StationConfig, "station.yaml").outputs[0].exposed
    if encrypted:
        assert parse_config(text.format(host=host, extra=encrypted), StationConfig, "s").outputs


def camera(address: str, extra: str = "") -> CameraSettings:
    """Read a camera's settings as a station does."""
    return parse_config(f"address: '{address}'{extra}", CameraSettings, "station.yaml")


def test_a_cameras_login_in_clear_is_refused():
    """RTSP carries it with each session; one without a login, a video and a number carry none."""
    said = (
        r"the login within address .*'192\.168\.0\.10' in clear.*expected rtsps://.*exposed: true"
    )
    with pytest.raises(ConfigError, match=said) as refused:
        camera("rtsp://viewer:hush@192.168.0.10/1")
    assert "hush" not in str(refused.value)
    with pytest.raises(ConfigError, match="the address names no host") as refused:
        camera("rtsp://viewer:hush@/1")
    assert "hush" not in str(refused.value)
    assert camera("rtsp://viewer:hush@192.168.0.10/1", "\nexposed: true").exposed
    for address in (
        "rtsps://viewer:hush@192.168.0.10/1",
        "rtsp://viewer:hush@127.0.0.1/1",
        "rtsp://192.168.0.10/1",
        "parts@noon.avi",
        "0",
    ):
        assert camera(address).address == address


@pytest.mark.parametrize("name", SECRETS)
def test_loopback_needs_no_encryption(name: str):
    """What never leaves the machine cannot be read on its way."""
    text = SECRETS[name][0].format(host="127.0.0.1", extra="")
    assert not parse_config(text, StationConfig, "station.yaml").outputs[0].exposed


@pytest.mark.parametrize(
    "text",
    [
        "outputs: [{kind: mqtt, host: broker.plant}]",
        "outputs: [{kind: hub, url: 'http://hub.plant'}]",
        "outputs: [{kind: hub, url: 'https://hub.plant', token_file: token}]",
        "outputs: [{kind: opcua, host: 192.168.0.10, anonymous: true}]",
    ],
)
def test_what_holds_no_secret_or_is_encrypted_is_taken(text: str):
    """The rule is about secrets, not about addresses."""
    assert parse_config(text, StationConfig, "station.yaml").outputs


def test_page_on_an_outer_address_must_be_meant():
    """A station's page is refused as a hub's is, and takes the same certificate."""
    with pytest.raises(ConfigError, match=r"web: .*host '0\.0\.0\.0' .* exposed: true; name tls"):
        parse_config("web: {host: 0.0.0.0}", StationConfig, "station.yaml")
    text = f"web: {{host: 192.168.0.10, exposed: true, {TLS}}}"
    assert parse_config(text, StationConfig, "station.yaml").web.tls.certificate.name == "a.pem"


def test_dashboard_asks_a_hub_elsewhere_by_https():
    """Passwords and sessions of all people pass there; its own `exposed` says nothing of that."""
    text = "exposed: true\nhub: http://hub.plant:8100"
    with pytest.raises(ConfigError, match=r"hub: .*'hub\.plant'.*clear.*hub_exposed: true"):
        parse_config(text, DashboardConfig, "dashboard.yaml")
    for meant in ("hub: https://hub.plant", text + "\nhub_exposed: true", "hub: http://[::1]:8100"):
        assert parse_config(meant, DashboardConfig, "dashboard.yaml").hub


def test_keys_of_people_never_come_in_clear():
    """Who can change them can log in as anybody: no setting allows that."""
    text = "oidc: {{issuer: 'https://a', client_id: a, keys_url: '{url}'}}"
    with pytest.raises(ConfigError, match=r"keys_url 'http://idp\.plant/keys': .*wanted https"):
        parse_config(text.format(url="http://idp.plant/keys"), HubConfig, "hub.yaml")
    assert parse_config(text.format(url="http://127.0.0.1/keys"), HubConfig, "hub.yaml").oidc


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("outputs: [{kind: opcua}]", r"nobody could log in; expected .*anonymous: true"),
        (f"outputs: [{{kind: opcua, anonymous: true, {PASSWORD}}}]", "anonymous: true and user"),
    ],
)
def test_anonymous_clients_must_be_meant(text: str, why: str):
    """OPC UA lets in who has the password; everybody only where that is said, and never both."""
    with pytest.raises(ConfigError, match=why):
        parse_config(text, StationConfig, "station.yaml")


@pytest.mark.parametrize(
    ("text", "purpose"),
    [
        ("", "gate"),
        ("updates: {bundles: ['https://hub.plant']}", "deployment"),
        ("updates: {thresholds: 'https://hub.plant'}", "thresholds"),
        ("updates: {thresholds: records}", "thresholds"),
    ],
)
def test_keys_that_would_take_nothing_are_refused(text: str, purpose: str):
    """A list that lacks a purpose the station needs refuses all of it, silently, for ever."""
    needed = ("bundle", "gate", "deployment", "thresholds")
    keys = [f"{one}:{'0' * 64}" for one in needed if one != purpose]
    with pytest.raises(ConfigError, match=f"trusted_keys has no {purpose} key.*station enrol"):
        parse_config(f"trusted_keys: {keys}\n{text}", StationConfig, "station.yaml")
    keys.append(f"{purpose}:{'0' * 64}")
    assert parse_config(f"trusted_keys: {keys}\n{text}", StationConfig, "station.yaml").trusted_keys


def test_hub_elsewhere_needs_keys():
    """The keys of this machine sign nothing there, so an empty list would take nothing."""
    text = "updates: {{bundles: ['{hub}'], thresholds: '{hub}'}}"
    with pytest.raises(ConfigError, match=r"trusted_keys .*empty.*'https://hub\.plant'.*enrol"):
        parse_config(text.format(hub="https://hub.plant"), StationConfig, "station.yaml")
    assert parse_config(text.format(hub="http://127.0.0.1:8100"), StationConfig, "s").updates


def test_station_without_any_key_trusts_nobody_and_says_so(tmp_path, monkeypatch):
    """It makes no keys of its own: nobody would sign with them."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"trusted_keys .*empty.*no keys.*station enrol"):
        _ = StationConfig().keys
    assert list(tmp_path.iterdir()) == []
