"""Signs and checks with Ed25519, so that a station runs only what its plant released.

What is signed begins with its purpose, and each purpose has a key of its own: a text that was
signed as one thing can never be read as another. Private keys are PEM files in the folder named
by INSPECTION_KEYS, or in the user's configuration folder; each is made on first use. Public keys
travel as `purpose:` and 64 hexadecimal digits.
"""

import logging
import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import Field

from inspection.core.config import Settings
from inspection.core.errors import BundleCorrupt, BundleError, ConfigError
from inspection.core.limits import (
    MAX_NAME,
    MAX_RECORD_BYTES,
    MAX_SIGNATURE_BYTES,
    Line,
    Moment,
    read_file,
)

KEYS_VARIABLE = "INSPECTION_KEYS"
VERSION = 1  # of what stands before each signed text
logger = logging.getLogger(__name__)


class Purpose(StrEnum):
    """What a signature is for; each has a key of its own."""

    BUNDLE = "bundle"
    """SHA256SUMS of a bundle or a detector."""
    GATE = "gate"
    THRESHOLDS = "thresholds"
    DEPLOYMENT = "deployment"
    """Which bundle the hub lets a station run."""
    BACKUP = "backup"


class Signature(Settings):
    """Who signed and the signature itself, both hexadecimal."""

    public_key: str = Field(max_length=64)
    signature: str = Field(max_length=128)


class SignedText(Settings):
    """A text, usually a JSON record, with its signature; one file, written at once."""

    text: str = Field(max_length=MAX_RECORD_BYTES)
    signature: Signature


class Deployment(Settings):
    """What the hub lets one station run; signed, so that nobody between can have it run another.

    `chosen_at` counts: each choice for a line and a name is later than all before it, whatever the
    clock says, so a station that remembers it takes no older one.
    """

    station: Line = Field(max_length=MAX_NAME)
    bundle_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: Line = Field(max_length=MAX_NAME, description="of the bundle")
    created_at: Moment
    chosen_at: Moment | None = Field(
        None, description="when it was chosen for the line or the station; none: made is chosen"
    )
    role: Literal["champion", "challenger"] = Field(
        "champion", description="a challenger only scores in the shadow of the one of its name"
    )


def keys_folder() -> Path:
    """Give the folder of this machine's signing keys."""
    named = os.environ.get(KEYS_VARIABLE)
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named) if named else configured / "inspection" / "keys"


def own_keys() -> tuple[str, ...]:
    """Give the public half of each key of this machine, as `purpose:` and hexadecimal digits.

    Raises:
        ConfigError: as for `load_signing_key`.
    """
    return tuple(f"{purpose}:{_public(load_signing_key(purpose))}" for purpose in Purpose)


def has_keys() -> bool:
    """Say whether this machine has signed anything, or has keys it could sign with."""
    return any(_key_path(purpose).exists() for purpose in Purpose)


def load_signing_key(purpose: Purpose) -> Ed25519PrivateKey:
    """Read this machine's key for a purpose, made on first use readable by its owner only.

    Raises:
        ConfigError: the file is there but holds no Ed25519 key, or cannot be written.
    """
    path = _key_path(purpose)
    try:
        if not path.exists():
            _create_key(path)
        key = load_pem_private_key(read_file(path, MAX_SIGNATURE_BYTES, follow=True), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: no usable signing key ({error}); put an Ed25519 PEM file there, or name "
            f"another folder in {KEYS_VARIABLE}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: found another kind of key; wanted Ed25519")
    return key


def _key_path(purpose: Purpose) -> Path:
    return keys_folder() / f"{purpose}.key"


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _create_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def sign_text(purpose: Purpose, text: str) -> Signature:
    """Sign a text with this machine's key for a purpose."""
    key = load_signing_key(purpose)
    return Signature(public_key=_public(key), signature=key.sign(_signed(purpose, text)).hex())


def sign(purpose: Purpose, text: str) -> SignedText:
    """Give a text with its signature."""
    return SignedText(text=text, signature=sign_text(purpose, text))


def _signed(purpose: Purpose, text: str) -> bytes:
    """Give the bytes that are signed: purpose and version, then the text."""
    return f"inspection {purpose} v{VERSION}\n{text}".encode()


def check_signature(
    purpose: Purpose,
    text: str,
    signature: Signature,
    trusted_keys: tuple[str, ...] | None,
    name: str,
) -> None:
    """Refuse a text that was not signed as it stands, for this purpose, by a key trusted for it.

    Args:
        purpose: what the text is read as.
        text: what was signed.
        signature: the claim.
        trusted_keys: each `purpose:` and a public key in hexadecimal; none trusts every key, and
            proves only that the bytes are the ones that were signed.
        name: stands before the error.

    Raises:
        BundleCorrupt: the signature does not fit the text.
        BundleError: the key is not trusted.
    """
    try:
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        public_key.verify(bytes.fromhex(signature.signature), _signed(purpose, text))
    except (InvalidSignature, ValueError) as error:
        raise BundleCorrupt(
            f"{name}: signature does not fit its content as a {purpose}; copy it again"
        ) from error
    key = f"{purpose}:{signature.public_key}"
    if trusted_keys is not None and key not in trusted_keys:
        raise BundleError(
            f"{name}: signed by {key}, which is not among the trusted keys; if you know whose it "
            "is, add it to trusted_keys ('inspection keys' on its machine shows it)"
        )
