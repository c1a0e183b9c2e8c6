"""Makes Ed25519 keys (RFC 8032), signs with them, and checks signatures. Needs the extra `edge`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openwheel.errors import BundleError, SettingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_MOST_KEY_BYTES: Final = 16 << 10
# A signature of a bundle is one of nothing else, whatever else the key may sign.
_DOMAIN: Final = b"openwheel bundle 1\n"


def new_keys(private: Path) -> Path:
    """Make a pair of keys: a file that its owner alone may read (0600), and ``.pub`` beside it.

    Returns:
        The file of the public key.

    Raises:
        SettingError: One of the files is there already, or cannot be written; or the extra is not
            installed.
    """
    _require_extra()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    public = private.with_name(private.name + ".pub")
    if public.exists():
        raise SettingError(f"{public} is there already; keys are not overwritten")
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(private, secret, 0o600)
    _write_new(public, shown, 0o644)
    return public


def sign(message: bytes, private: Path) -> bytes:
    """Return the signature of a message, 64 bytes.

    Raises:
        SettingError: The file does not hold a private key, others may read it, or the extra is not
            installed.
    """
    return _private_key(private).sign(_DOMAIN + message)


def check_signature(message: bytes, signature: bytes, public: Path) -> None:
    """Check that a message was signed by the private key of a public one.

    Raises:
        BundleError: It was not.
        SettingError: The file does not hold a public key, or the extra is not installed.
    """
    key = _public_key(public)
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - of an extra

    try:
        key.verify(signature, _DOMAIN + message)
    except InvalidSignature:
        raise BundleError(
            f"The bundle is not signed by the key of {public}: it was changed, or another key "
            "signed it"
        ) from None


def _private_key(path: Path) -> "Ed25519PrivateKey":
    _require_extra()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    text = _read(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise SettingError(f"{path} can be read by others; a private key must have the mode 0600")
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: for a key with a password
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SettingError(f"{path} must be an Ed25519 private key in PEM without a password")
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    _require_extra()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SettingError(f"{path} must be an Ed25519 public key in PEM")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise SettingError(f"The key {path} cannot be read: {error.strerror}") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise SettingError(f"{path} is there already; keys are not overwritten") from None
    except OSError as error:
        raise SettingError(f"The key {path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _require_extra() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415 - of an extra
    except ImportError as error:
        raise SettingError(
            f"Bundles need the extra `edge`: pip install 'openwheel[edge]' ({error})"
        ) from None
