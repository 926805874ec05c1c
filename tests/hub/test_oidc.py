"""People of the identity provider: whose tokens are believed, and for whom."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError, HubError
from inspection.hub.accounts import add_account, change_account, list_accounts
from inspection.hub.asking import Refused
from inspection.hub.oidc import log_in_by_token
from inspection.hub.settings import HubConfig, OidcSettings
from inspection.hub.wire.people import AccountChange, NewAccount, OidcLogin, Role
from tests.hub.conftest import served

KEYS = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
}
FOREIGN = ec.generate_private_key(ec.SECP256R1())


def published() -> bytes:
    """Give the provider's key set."""
    makers = {"rsa": jwt.algorithms.RSAAlgorithm, "ec": jwt.algorithms.ECAlgorithm}
    keys = [
        {**makers[kid].to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}
        for kid, key in KEYS.items()
    ]
    return json.dumps({"keys": keys}).encode()


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Serve the keys of an identity provider on loopback; gives its address."""

    class Provider(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(published())

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def settings(provider) -> OidcSettings:
    return OidcSettings(issuer=provider, client_id="inspection", keys_url=f"{provider}/keys")


def token(
    settings: OidcSettings, *, kid: str = "ec", key=None, alg: str = "", **claims
) -> OidcLogin:
    """Give an ID token of ann; a claim of None is left out."""
    now = datetime.now(UTC)
    about = {
        "iss": settings.issuer,
        "aud": settings.client_id,
        "sub": "1",
        "iat": now,
        "exp": now + timedelta(hours=1),
        "email": "ann@example.com",
        "email_verified": True,
    } | claims
    kept = {name: value for name, value in about.items() if value is not None}
    alg = alg or {"ec": "ES256", "rsa": "RS256"}[kid]
    return OidcLogin(
        id_token=jwt.encode(kept, KEYS[kid] if key is None else key, alg, headers={"kid": kid})
    )


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_whom_an_admin_added_comes_by_the_provider(make_hub, sqlite_url, settings, kid):
    hub = make_hub(sqlite_url, oidc=settings)
    add_account(hub, NewAccount(account="ann@example.com", role=Role.ENGINEER), "root")
    with served(hub) as plant:
        session = plant.client().login_oidc(token(settings, kid=kid))
        assert plant.client(session.token).me().role is Role.ENGINEER


def test_unknown_people_get_the_configured_role_or_stay_out(make_hub, sqlite_url, settings):
    closed = make_hub(sqlite_url, oidc=settings)
    assert log_in_by_token(closed, token(settings)) is None
    assert list_accounts(closed) == ()
    role = settings.model_copy(update={"role": Role.VIEWER})
    opened = make_hub(sqlite_url, oidc=role)
    assert [log_in_by_token(opened, token(settings)).role for _ in range(2)] == [Role.VIEWER] * 2
    (added,) = list_accounts(opened)
    assert (added.account, added.local) == ("ann@example.com", False)


def test_a_local_account_and_a_disabled_one_are_not_entered_by_the_provider(
    make_hub, sqlite_url, settings
):
    """Who may choose his name at the provider must not become the local admin of that name."""
    hub = make_hub(sqlite_url, oidc=settings.model_copy(update={"role": Role.VIEWER}))
    local = NewAccount(account="ann@example.com", role=Role.ADMIN, password="long enough, surely")
    add_account(hub, local, "root")
    add_account(hub, NewAccount(account="off", role=Role.VIEWER), "root")
    change_account(hub, "off", AccountChange(disabled=True), "root")
    assert log_in_by_token(hub, token(settings)) is None
    assert log_in_by_token(hub, token(settings, email="off")) is None


def test_a_token_that_does_not_hold_lets_nobody_in(make_hub, sqlite_url, settings):
    hub = make_hub(sqlite_url, oidc=settings.model_copy(update={"role": Role.VIEWER}))
    now, hour = datetime.now(UTC), timedelta(hours=1)
    for wrong in (
        {"iss": "https://other.example.com"},
        {"aud": "another client"},
        {"exp": now - hour},
        {"iat": now + hour},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": "a/../b"},
        {"email": ["ann@example.com"]},
        *({name: None} for name in ("iss", "aud", "exp", "iat", "sub", "email")),
        {"key": FOREIGN},
        {"key": FOREIGN, "kid": "unknown", "alg": "ES256"},
        {"alg": "none", "key": ""},
        {"alg": "HS256", "key": "k" * 32},
        {"alg": "RS512", "kid": "rsa"},
    ):
        assert log_in_by_token(hub, token(settings, **wrong)) is None, wrong
    for text in ("x", "a.b.c", "é" * 10, "e30.e30.", "[1]." * 3):
        assert log_in_by_token(hub, OidcLogin(id_token=text)) is None, text
    assert list_accounts(hub) == ()
    assert log_in_by_token(hub, token(settings)).role is Role.VIEWER


def test_a_provider_that_does_not_answer_is_said_to(make_hub, sqlite_url, settings):
    gone = settings.model_copy(update={"keys_url": "http://127.0.0.1:9/keys"})
    hub = make_hub(sqlite_url, oidc=gone)
    with pytest.raises(HubError, match="gives no keys"):
        log_in_by_token(hub, token(settings))


def test_without_a_provider_nobody_comes_by_one(sqlite_plant, settings):
    with pytest.raises(Refused, match="the token does not hold") as refused:
        sqlite_plant.client().login_oidc(token(settings))
    assert refused.value.status == 401


def test_keys_that_could_be_changed_on_their_way_are_refused():
    text = "oidc:\n  issuer: http://a.example\n  client_id: x\n  keys_url: http://a.example/keys\n"
    with pytest.raises(ConfigError, match=r"hub\.yaml:1: oidc: .*wanted https"):
        parse_config(text, HubConfig, "hub.yaml")
