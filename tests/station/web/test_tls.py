import ssl
from pathlib import Path

import httpx
import pytest

from inspection.core.errors import ConfigError
from inspection.core.exposure import TlsSettings
from inspection.station.settings import StationConfig, WebSettings
from inspection.station.web.server import WebServer
from tests.station.outputs.certificate import make_certificate
from tests.station.web.serving import Station, free_port


def server(web: WebSettings, data_dir: Path) -> WebServer:
    """Make the server of a station's page."""
    return WebServer(web, StationConfig(data_dir=data_dir, heartbeat_ms=50), Station())


def test_page_is_served_by_tls(tmp_path: Path):
    """With a certificate the page, and the token of who brings parts, cannot be read on the way."""
    der, key = make_certificate(tmp_path, "station")
    pem = tmp_path / "station.crt"
    pem.write_text(ssl.DER_cert_to_PEM_cert(der.read_bytes()))
    web = WebSettings(port=free_port(), tls=TlsSettings(certificate=pem, private_key=key))
    trusted = ssl.create_default_context(cafile=pem)
    with (
        server(web, tmp_path),
        httpx.Client(base_url=f"https://127.0.0.1:{web.port}", verify=trusted) as client,
    ):
        assert client.get("/status.json").status_code == 200


@pytest.mark.fast
def test_certificate_that_cannot_be_used_is_named(tmp_path: Path):
    """The station says so at its start, not a thread in its log."""
    tls = TlsSettings(certificate=tmp_path / "absent", private_key=tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"tls: certificate or private_key cannot be used .*PEM"):
        server(WebSettings(port=free_port(), tls=tls), tmp_path).start()
