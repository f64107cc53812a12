"""An authority, and what it has certified."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LOOPBACK = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
TOMORROW = datetime.timedelta(days=1)
YESTERDAY = datetime.timedelta(days=-1)


def certify(folder, name=LOOPBACK, expires=TOMORROW):
    """Writes `authority.pem`, and `server.pem` with its `server.key`: a certificate of that authority for this name, which
    ends so long from now."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = x509.Name.from_rfc4514_string("CN=authority")

    def write(file, subject, key, ends, extension):
        builder = x509.CertificateBuilder(
            authority, subject, key.public_key(), x509.random_serial_number(), now - datetime.timedelta(days=2), ends
        )
        for each, critical in [
            (extension, True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
        ]:
            builder = builder.add_extension(each, critical)
        (folder / file).write_bytes(builder.sign(authority_key, SHA256()).public_bytes(Encoding.PEM))

    write("authority.pem", authority, authority_key, now + TOMORROW, x509.BasicConstraints(ca=True, path_length=None))
    # It has no subject, and so its name is critical (RFC 5280, 4.2.1.6).
    write("server.pem", x509.Name([]), server_key, now + expires, x509.SubjectAlternativeName([name]))
    (folder / "server.key").write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
