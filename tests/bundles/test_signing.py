"""Keys: made once, for their owner only; a signature fits one text by one key."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from inspection.bundles.signing import (
    KEYS_VARIABLE,
    Purpose,
    check_signature,
    keys_folder,
    load_signing_key,
    own_keys,
    sign,
    sign_text,
)
from inspection.core.errors import BundleCorrupt, BundleError, ConfigError

pytestmark = pytest.mark.fast
OTHER = "bundle:" + "00" * 32


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a key file that is not there yet."""
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))
    return tmp_path / "keys" / "bundle.key"


def test_key_lies_where_the_variable_says_or_in_the_users_configuration(monkeypatch, key_file):
    """INSPECTION_KEYS, else XDG_CONFIG_HOME, else ~/.config; empty is as unset."""
    assert keys_folder() == key_file.parent
    monkeypatch.setenv(KEYS_VARIABLE, "")
    monkeypatch.setenv("XDG_CONFIG_HOME", "conf")
    assert keys_folder() == Path("conf/inspection/keys")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", "home")
    assert keys_folder() == Path("home/.config/inspection/keys")


def test_key_is_made_once_for_its_owner_only(key_file: Path):
    """The first use writes a key of mode 0600 and nothing else; later uses read it."""
    first = load_signing_key(Purpose.BUNDLE).private_bytes_raw()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == ["bundle.key"]
    assert load_signing_key(Purpose.BUNDLE).private_bytes_raw() == first


def test_wide_umask_does_not_open_the_key(key_file: Path):
    """Even with umask 0 nobody else can read the key."""
    before = os.umask(0)
    try:
        load_signing_key(Purpose.BUNDLE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


MAKE = """
import sys
from inspection.bundles.signing import Purpose, load_signing_key
sys.stdin.readline()
print(load_signing_key(Purpose.BUNDLE).public_key().public_bytes_raw().hex())
"""


def test_processes_that_start_together_share_one_key(key_file: Path):
    """Of three processes that find no key one makes it; all use the same, no rest is left."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE], stdin=pipe, stdout=pipe, env=environment, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert keys == {load_signing_key(Purpose.BUNDLE).public_key().public_bytes_raw().hex() + "\n"}
    assert [path.name for path in key_file.parent.iterdir()] == ["bundle.key"]


def _pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


NO_KEYS = {
    "elliptic curve": (
        _pem(ec.generate_private_key(ec.SECP256R1())),
        "found another kind of key; wanted Ed25519",
    ),
    "RSA": (
        _pem(rsa.generate_private_key(65537, 2048)),
        "found another kind of key; wanted Ed25519",
    ),
    "with a password": (
        _pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
        "no usable signing key (Password was not given",
    ),
    "text": (b"no key\n", "no usable signing key ("),
    "empty": (b"", "no usable signing key ("),
}


@pytest.mark.parametrize(("content", "message"), NO_KEYS.values(), ids=NO_KEYS)
def test_wrong_key_file_is_refused_and_kept(key_file: Path, content, message):
    """A file that holds no plain Ed25519 key is refused by its path and never replaced."""
    key_file.parent.mkdir()
    key_file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{key_file}: {message}')}"):
        load_signing_key(Purpose.BUNDLE)
    assert key_file.read_bytes() == content


def test_key_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch):
    """A place where no key can be made is named, with the variable that names another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "file" / "keys"))
    message = r"bundle\.key: no usable signing key .* another folder in INSPECTION_KEYS"
    with pytest.raises(ConfigError, match=message):
        load_signing_key(Purpose.BUNDLE)


def test_signature_fits_its_text_and_its_key():
    """A signed text is accepted without a list of keys and by a list that names its key."""
    signature = sign_text(Purpose.BUNDLE, "Prüfling 7")
    check_signature(Purpose.BUNDLE, "Prüfling 7", signature, None, "card")
    check_signature(
        Purpose.BUNDLE, "Prüfling 7", signature, (OTHER, f"bundle:{signature.public_key}"), "card"
    )
    assert sign_text(Purpose.BUNDLE, "Prüfling 7") == signature


def test_changed_text_or_signature_is_refused():
    """Another text, another key's name, a cut or a foreign signature does not fit."""
    signature = sign_text(Purpose.BUNDLE, "text")
    message = "card: signature does not fit its content as a bundle; copy it again"
    other = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    spoilt = [
        ("text ", signature),
        ("", signature),
        ("text", signature.model_copy(update={"public_key": other})),
        ("text", signature.model_copy(update={"public_key": "no hex"})),
        ("text", signature.model_copy(update={"public_key": ""})),
        ("text", signature.model_copy(update={"signature": signature.signature[:-2]})),
        ("text", sign_text(Purpose.BUNDLE, "text ")),
    ]
    for text, claim in spoilt:
        with pytest.raises(BundleCorrupt, match=f"^{message}$"):
            check_signature(Purpose.BUNDLE, text, claim, None, "card")


def test_sound_signature_of_an_unknown_key_is_not_trusted():
    """A fitting signature by a key outside the list is refused, naming the key and the remedy."""
    signature = sign_text(Purpose.BUNDLE, "text")
    message = f"card: signed by bundle:{signature.public_key}, which is not among the trusted keys"
    with pytest.raises(BundleError, match=f"^{message}"):
        check_signature(Purpose.BUNDLE, "text", signature, (OTHER,), "card")


def test_a_longer_spelling_of_a_key_is_not_trusted():
    """Trust compares the exact digits: capitals that decode to the same key do not slip in."""
    signature = sign_text(Purpose.BUNDLE, "text")
    shouted = signature.model_copy(update={"public_key": signature.public_key.upper()})
    with pytest.raises(BundleError, match="not among the trusted keys"):
        check_signature(
            Purpose.BUNDLE, "text", shouted, (f"bundle:{signature.public_key}",), "card"
        )


@pytest.mark.parametrize("read_as", [one for one in Purpose if one is not Purpose.THRESHOLDS])
def test_text_signed_for_one_purpose_is_none_of_another(read_as: Purpose):
    """Whoever lets a hub sign thresholds has no bundle, gate record, deployment or backup."""
    signed = sign(Purpose.THRESHOLDS, "text")
    check_signature(Purpose.THRESHOLDS, signed.text, signed.signature, own_keys(), "record")
    message = f"signature does not fit its content as a {read_as}"
    with pytest.raises(BundleCorrupt, match=message):
        check_signature(read_as, signed.text, signed.signature, None, "record")


def test_text_cannot_begin_as_another_purpose():
    """What stands before a text is signed with it, and the text cannot take its place."""
    inner = sign(Purpose.THRESHOLDS, "inspection bundle v1\ntext")
    with pytest.raises(BundleCorrupt):
        check_signature(Purpose.BUNDLE, "text", inner.signature, None, "card")


def test_each_purpose_has_a_key_of_its_own(key_file: Path):
    """A hub that holds no bundle key can sign no bundle; keys are listed with their purposes."""
    signatures = {purpose: sign_text(purpose, "text") for purpose in Purpose}
    assert len({one.public_key for one in signatures.values()}) == len(Purpose)
    assert own_keys() == tuple(f"{one}:{signatures[one].public_key}" for one in Purpose)
    assert sorted(path.name for path in key_file.parent.iterdir()) == sorted(
        f"{one}.key" for one in Purpose
    )


def test_key_trusted_for_thresholds_signs_no_bundle_here():
    """A key counts for the purpose it was named with."""
    signature = sign_text(Purpose.BUNDLE, "text")
    with pytest.raises(BundleError, match="not among the trusted keys"):
        check_signature(
            Purpose.BUNDLE, "text", signature, (f"thresholds:{signature.public_key}",), "card"
        )


def test_nobody_is_trusted_by_an_empty_list():
    """An empty list is a list: a station that was told of no key runs no bundle."""
    with pytest.raises(BundleError, match="not among the trusted keys"):
        check_signature(Purpose.BUNDLE, "text", sign_text(Purpose.BUNDLE, "text"), (), "card")
