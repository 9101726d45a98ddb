"""A private certificate authority for servers on 127.0.0.1: for TLS that a test can verify, or break on purpose.

The keys are made anew for each folder and are worth nothing anywhere else.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY = "Datong test authority"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authority, the server's pair, and a client's pair (common name `datong`)."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def certificates(
    folder: Path, *, hosts: Sequence[str] = ("127.0.0.1", "localhost"), expired: bool = False
) -> Certificates:
    """Make an authority, a server certificate for `hosts` and a client certificate in `folder`.

    `hosts=("elsewhere.example",)` makes a certificate for the wrong host; `expired=True` one that ended yesterday.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = _Authority(ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC))
    made = Certificates(
        ca=folder / "ca.pem",
        server_cert=folder / "server.pem",
        server_key=folder / "server.key",
        client_cert=folder / "client.pem",
        client_key=folder / "client.key",
    )
    made.ca.write_bytes(authority.own_certificate())

    key = ec.generate_private_key(ec.SECP256R1())
    for_hosts = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    server = authority.certificate(hosts[0], key, expired=expired).add_extension(for_hosts, critical=False)
    made.server_cert.write_bytes(authority.sign(server, ExtendedKeyUsageOID.SERVER_AUTH))
    _write_key(made.server_key, key)

    key = ec.generate_private_key(ec.SECP256R1())
    client = authority.certificate("datong", key, expired=expired)
    made.client_cert.write_bytes(authority.sign(client, ExtendedKeyUsageOID.CLIENT_AUTH))
    _write_key(made.client_key, key)
    return made


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    now: dt.datetime

    def certificate(
        self, subject: str, key: ec.EllipticCurvePrivateKey, *, expired: bool = False
    ) -> x509.CertificateBuilder:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(_AUTHORITY))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - 2 * _DAY)
            .not_valid_after(self.now - _DAY if expired else self.now + 30 * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer_key, critical=False)
        )

    def own_certificate(self) -> bytes:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            self.certificate(_AUTHORITY, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign(self, builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier) -> bytes:
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
