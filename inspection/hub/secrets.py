"""Tokens of stations and sessions: 256 random bits, of which the hub keeps the hash only."""

import hashlib
import secrets


def new_secret() -> str:
    """Give a new token, URL-safe."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """Hash a token; it is random, so no slow hash is needed against guessing it."""
    return hashlib.sha256(secret.encode()).hexdigest()
