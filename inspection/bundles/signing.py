"""Signs and checks with Ed25519, so that a station runs only what the training host released.

The private key is a PEM file: the one named by INSPECTION_SIGNING_KEY, or one made on first use in
the user's configuration folder. Public keys travel as 64 hexadecimal digits.
"""

import logging
import os
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from inspection.core.config import Settings
from inspection.core.errors import BundleCorrupt, BundleError, ConfigError

KEY_VARIABLE = "INSPECTION_SIGNING_KEY"
logger = logging.getLogger(__name__)


class Signature(Settings):
    """Who signed and the signature itself, both hexadecimal."""

    public_key: str
    signature: str


class SignedText(Settings):
    """A text, usually a JSON record, with its signature; one file, written at once."""

    text: str
    signature: Signature


def key_path() -> Path:
    """Give the place of this machine's signing key."""
    named = os.environ.get(KEY_VARIABLE)
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named) if named else configured / "inspection" / "signing.key"


def load_signing_key() -> Ed25519PrivateKey:
    """Read this machine's signing key, made on first use readable by its owner only.

    Raises:
        ConfigError: the file is there but holds no Ed25519 key, or cannot be written.
    """
    path = key_path()
    try:
        if not path.exists():
            _create_key(path)
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: no usable signing key ({error}); name an Ed25519 PEM file in {KEY_VARIABLE}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: found another kind of key; wanted Ed25519")
    return key


def _create_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    descriptor, name = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)  # 0600
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(descriptor)
        os.link(partial, path)  # refuses to replace a key another process has just made
        logger.warning("made a new signing key, %s; stations that name keys must learn it", path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def sign_text(text: str) -> Signature:
    """Sign a text with this machine's key."""
    key = load_signing_key()
    return Signature(
        public_key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(text.encode()).hex(),
    )


def check_signature(
    text: str, signature: Signature, trusted_keys: tuple[str, ...], name: str
) -> None:
    """Refuse a text that was not signed as it stands, or by a key nobody here trusts.

    Args:
        text: what was signed.
        signature: the claim.
        trusted_keys: public keys in hexadecimal; empty trusts every key, and proves only that
            the bytes are the ones that were signed.
        name: stands before the error.

    Raises:
        BundleCorrupt: the signature does not fit the text.
        BundleError: the key is not trusted.
    """
    try:
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        public_key.verify(bytes.fromhex(signature.signature), text.encode())
    except (InvalidSignature, ValueError) as error:
        raise BundleCorrupt(
            f"{name}: signature does not fit its content; copy the bundle again"
        ) from error
    if trusted_keys and signature.public_key not in trusted_keys:
        raise BundleError(
            f"{name}: signed by {signature.public_key}, which is not among the trusted keys; "
            "add it to trusted_keys only if you know whose it is"
        )
