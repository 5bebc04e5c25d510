"""The certificate and key that a TLS listener shows.

Imported only where there is one: the library is large, and a server behind a proxy needs none of it.
"""

import logging
from collections.abc import Sequence
from typing import Any

from OpenSSL.crypto import Error as BadPEM
from OpenSSL.SSL import NO_OVERLAPPING_PROTOCOLS, Connection, Context
from OpenSSL.SSL import Error as BadPair
from twisted.internet.interfaces import IOpenSSLContextFactory, IProtocolFactory
from twisted.internet.ssl import Certificate, CertificateOptions, KeyPair
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from config.settings import TLS

_END = b"-----END CERTIFICATE-----"
_log = logging.getLogger(__name__)


def secure(factory: IProtocolFactory, tls: TLS) -> IProtocolFactory:
    """The same factory behind TLS.

    Raises:
        OSError: a file cannot be read.
        ValueError: the files hold no certificate, or no key that fits it.
    """
    return TLSMemoryBIOFactory(Credentials(tls), False, factory)


@implementer(IOpenSSLContextFactory)
class Credentials:
    """The files of a certificate chain and its key, read anew for new connections when they have changed.

    So a renewed certificate is shown without a restart; files that cannot be used leave the old ones in place.
    """

    def __init__(self, tls: TLS) -> None:
        self._tls = tls
        self._read_at = self._changed_at()
        self._context = _load(tls)

    def getContext(self) -> Context:  # noqa: N802 - Twisted's name
        """What the next connection shows."""
        try:
            changed_at = self._changed_at()
            if changed_at != self._read_at:
                self._read_at = changed_at
                self._context = _load(self._tls)
        except (OSError, ValueError) as fault:
            _log.error("the changed certificate cannot be used, the old one stays: %s", fault)
        return self._context

    def _changed_at(self) -> tuple[int, int]:
        return self._tls.certificate.stat().st_mtime_ns, self._tls.private_key.stat().st_mtime_ns


def _load(tls: TLS) -> Context:
    """The context of these files."""
    try:
        blocks = [block + _END for block in tls.certificate.read_bytes().split(_END)[:-1]]
        first, *others = [Certificate.loadPEM(block).original for block in blocks]
        key = KeyPair.load(tls.private_key.read_bytes(), 1).original
        options = CertificateOptions(privateKey=key, certificate=first, extraCertChain=others)
        context = options.getContext()
        context.check_privatekey()
        context.set_alpn_select_callback(_choose_protocol)
    except (BadPEM, BadPair) as fault:
        raise ValueError(f"{tls.certificate} and {tls.private_key} are no certificate and key: {fault}") from None
    return context


def _choose_protocol(connection: Connection, offered: Sequence[bytes]) -> Any:
    """HTTP/1.1 for whoever offers a choice, which is all that is spoken here; who offers only others hears of none.

    Twisted's own choice needs a factory that makes TLS connections, not contexts.
    """
    return b"http/1.1" if b"http/1.1" in offered else NO_OVERLAPPING_PROTOCOLS
