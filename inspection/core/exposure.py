"""What others on the network can reach or read: nothing, until a setting says that it is meant.

One rule for what listens (hub, dashboard, a station's page) and for what carries a password or a
token: on loopback all may be plain; elsewhere it is encrypted, or `exposed: true` stands beside it.
"""

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StrictBool, model_validator

from inspection.core.config import Settings
from inspection.core.errors import ConfigError

ENCRYPTED = {"https", "rtsps"}  # schemes
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Exposed = Annotated[
    StrictBool,
    Field(description="say true to let others on the network read the password or token"),
]


class TlsSettings(Settings):
    """The certificate with which a server proves itself."""

    certificate: Path = Field(description="PEM file, the whole chain")
    private_key: Path = Field(description="PEM file of its key")

    def require_usable(self) -> None:
        """Read both files.

        Raises:
            ConfigError: one cannot be read, they do not fit, or the key has a password.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.private_key, password=str)
        except OSError as error:
            raise ConfigError(
                f"tls: certificate or private_key cannot be used ({error}); wanted PEM files, the "
                "key without a password"
            ) from error


class Listener(Settings):
    """Where something listens: on loopback until told otherwise."""

    host: str = Field("127.0.0.1", description="address to listen on")
    exposed: StrictBool = Field(
        default=False, description="say true to listen on an address other machines can reach"
    )
    tls: TlsSettings | None = Field(default=None, description="none speaks plain HTTP")

    @model_validator(mode="after")
    def _stays_on_loopback_until_told(self) -> Self:
        if self.exposed or is_loopback(self.host):
            return self
        raise ValueError(
            f"host '{self.host}' can be reached from other machines; wanted a loopback address, or "
            "exposed: true; name tls, too, or passwords and tokens can be read on the way"
        )


class Page(Listener):
    """Where a page listens that people open in a browser: it answers to the names it knows only.

    A stranger's page whose name was made to mean this address ("DNS rebinding") is refused by it.
    """

    names: tuple[Annotated[str, Field(pattern=r"^[0-9a-z.:-]+$")], ...] = Field(
        (),
        max_length=64,
        description="names and addresses, without port, by which people open it, the usual one "
        "first; loopback and `host` are known",
    )

    @model_validator(mode="after")
    def _is_known_by_name(self) -> Self:
        if self.names or not _is_any(self.host):
            return self
        raise ValueError(
            f"host '{self.host}' is every address of this machine, and no names say by which "
            "people open the page; expected such as names: [station-7.plant.example]"
        )

    @property
    def hosts(self) -> list[str]:
        """Give what may stand in the Host header, without port; an IPv6 address in brackets."""
        names = dict.fromkeys((*self.names, self.host.lower(), *LOOPBACK))
        return [f"[{name}]" if ":" in name else name for name in names]


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_clear(
    secret: str, address: str, *, exposed: bool, instead: str = "https://", word: str = "exposed"
) -> None:
    """Refuse to carry a secret in clear to another machine, unless a setting says it is meant.

    Args:
        secret: the setting whose content would be carried.
        address: a host to which nothing is encrypted, or a URL; see `ENCRYPTED`.
        exposed: whether it is meant.
        instead: how it is encrypted.
        word: the setting that says it is meant.

    Raises:
        ValueError: it would be carried in clear; says what was expected.
    """
    url = urlsplit(address)
    if url.scheme and not url.hostname:  # the address may hold a password
        raise ValueError(f"{secret}: the address names no host; expected one after //")
    host = url.hostname or address
    if not (exposed or url.scheme in ENCRYPTED or is_loopback(host)):
        raise ValueError(
            f"{secret} would go to '{host}' in clear, where anybody on the way can read it; "
            f"expected {instead}, a loopback address, or {word}: true"
        )
