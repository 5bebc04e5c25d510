"""Certificates for tests: self-signed ones, and those of a certificate authority of the test's own."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import PrivateCertificate

Subject = str | IPv4Address | IPv6Address


def make_certificate(folder: Path, host: str) -> tuple[Path, PrivateCertificate]:
    """Make a certificate of that host name, valid for a day: its PEM file, and the certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    file = folder / "certificate.pem"
    file.write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return file, PrivateCertificate.loadPEM(pem + private)


class Authority:
    """A certificate authority; `file` is where it has put its own certificate."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the test")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = _draft(self._name, self._name, self._key).add_extension(constraints, critical=True)
        file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def certify(self, folder: Path, *subjects: Subject, days: int = 1) -> tuple[Path, Path]:
        """Certify somebody by those DNS names and addresses: the PEM files of the certificate and of its key.

        A certificate of -1 days has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Server of the test")])
        names = [x509.DNSName(who) if isinstance(who, str) else x509.IPAddress(who) for who in subjects]
        draft = _draft(name, self._name, key, days).add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, private = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(draft.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
    )
