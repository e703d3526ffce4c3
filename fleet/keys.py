# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates: a CA for TLS, and Ed25519 keys for releases.

The root key signs grants for release keys and nothing else, so it can be kept offline; devices
trust the root. A release key signs manifests on the server.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.errors import FleetError
from fleet.wire import decode, sign1, verify1
from fleet.wire.cose import key_id
from fleet.wire.messages import Component, KeyGrant

YEAR = datetime.timedelta(days=365)
GRANT_S = 2 * 365 * 86_400
# Passwords are 32 random bytes, so the hash need not be slow; these are mosquitto's iterations.
PASSWORD_ITERATIONS = 101


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, from the first moment on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


# ---- TLS -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, PEM.

    Args:
        serial: in hex.
    """

    certificate: bytes
    key: bytes
    serial: str


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def make_ca(common: str) -> Issued:
    """A certificate authority on P-256, valid for 20 years."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(_name(common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + 20 * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Issued(pem, _pem(key), f"{certificate.serial_number:x}")


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """The CA in a folder with ca.pem and ca.key.

    Raises:
        FleetError: a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.pem = (folder / "ca.pem").read_bytes()
            self._certificate = x509.load_pem_x509_certificate(self.pem)
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        except (OSError, ValueError) as error:
            raise FleetError(f"the CA in {folder} cannot be read: {error}") from None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue_server(self, hosts: list[str]) -> Issued:
        """A certificate for a broker reached by these names and addresses; two years."""
        return self._issue(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, 2 * YEAR, hosts)

    def issue_device(self, name: str) -> Issued:
        """A client certificate whose common name is the device; ten years."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, 10 * YEAR, [])

    def revocations(self, serials: list[str]) -> bytes:
        """The list of revoked certificates, PEM."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - datetime.timedelta(days=1))
            .next_update(now + 20 * YEAR)
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(now)
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        common: str,
        purpose: x509.ObjectIdentifier,
        lifetime: datetime.timedelta,
        hosts: list[str],
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general(h) for h in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Issued(pem, _pem(key), f"{certificate.serial_number:x}")


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# ---- passwords -----------------------------------------------------------------------------------


def new_password() -> str:
    """32 random bytes as text."""
    return secrets.token_urlsafe(32)


def password_verifier(password: str) -> str:
    """What mosquitto keeps of a password: PBKDF2 with HMAC-SHA-512, as in its password file."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ITERATIONS)
    coded = (base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
    return f"$7${PASSWORD_ITERATIONS}${coded[0]}${coded[1]}"


# ---- releases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signer:
    """A release key with the root's grant for it.

    Args:
        key: signs manifests.
        grant: COSE_Sign1 by the root; travels with each job.
    """

    key: Ed25519PrivateKey
    grant: bytes


def make_root(folder: Path) -> None:
    """Writes root.key, and root.pub as 64 hex digits for devices."""
    key = Ed25519PrivateKey.generate()
    write_private(folder / "root.key", _pem(key))
    (folder / "root.pub").write_text(key.public_key().public_bytes_raw().hex() + "\n", "ascii")


def root_public(folder: Path) -> Ed25519PublicKey:
    """The key that devices trust."""
    try:
        return Ed25519PublicKey.from_public_bytes(
            bytes.fromhex((folder / "root.pub").read_text("ascii"))
        )
    except (OSError, ValueError) as error:
        raise FleetError(f"{folder / 'root.pub'} cannot be read: {error}") from None


def make_release_key(folder: Path, root: Path, tenant: str, lifetime_s: int = GRANT_S) -> None:
    """Writes release.key and release.grant, signed by the root key in the file ``root``.

    Raises:
        FleetError: the root key is missing, damaged, or not the one that devices trust.
    """
    try:
        signing = serialization.load_pem_private_key(root.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise FleetError(
            f"the root key {root} cannot be read: {error}", "Name it with --root."
        ) from None
    trusted = root_public(folder).public_bytes_raw()
    if (
        not isinstance(signing, Ed25519PrivateKey)
        or signing.public_key().public_bytes_raw() != trusted
    ):
        raise FleetError(f"{root} is not the root key that this fleet's devices trust")
    key = Ed25519PrivateKey.generate()
    grant = KeyGrant(
        version=1,
        key=key.public_key().public_bytes_raw(),
        component=Component.MODEL,
        tenant=tenant,
        expires_s=int(time.time()) + lifetime_s,
    )
    write_private(folder / "release.key", _pem(key))
    (folder / "release.grant").write_bytes(sign1(grant.encode(), signing))


def load_signer(folder: Path, now: float) -> Signer:
    """The release key of a fleet.

    Raises:
        FleetError: it is missing, was not granted by the root, or its grant has expired.
    """
    try:
        key = serialization.load_pem_private_key((folder / "release.key").read_bytes(), None)
        envelope = (folder / "release.grant").read_bytes()
    except (OSError, ValueError) as error:
        raise FleetError(
            f"the release key in {folder} cannot be read: {error}", "Make one: fleet key renew"
        ) from None
    root = root_public(folder)
    try:
        grant = decode(KeyGrant, verify1(envelope, {key_id(root): root}))
    except ValueError as error:
        raise FleetError(f"{folder / 'release.grant'}: {error}", "fleet key renew") from None
    assert isinstance(key, Ed25519PrivateKey)
    if grant.key != key.public_key().public_bytes_raw():
        raise FleetError("release.grant was made for another release key", "fleet key renew")
    if grant.expires_s <= now:
        raise FleetError("the grant of the release key has expired", "fleet key renew")
    return Signer(key, envelope)
