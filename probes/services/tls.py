"""TLS without a socket: octets in, octets out, and the peer's certificate judged by OpenSSL."""

from __future__ import annotations

import pathlib
import ssl
from typing import Final

from netslo.errors import ConfigurationError, Problem
from netslo.service import ServiceResult
from probes.services.exchange import Failed

CA_SIZE_MAX: Final = 4 << 20

# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h).
_FAULTS: Final = {
    9: ServiceResult.CERTIFICATE_EXPIRED,  # not valid yet
    10: ServiceResult.CERTIFICATE_EXPIRED,
    62: ServiceResult.CERTIFICATE_NAME,
    64: ServiceResult.CERTIFICATE_NAME,  # an address
}


def read_authorities(file: pathlib.Path) -> str:
    """Return the certificates of a PEM file.

    Raises:
        ConfigurationError: it cannot be read, or has none.
    """
    try:
        with file.open("rb") as opened:
            octets = opened.read(CA_SIZE_MAX + 1)
        if len(octets) > CA_SIZE_MAX:
            raise _fault(file, f"is longer than {CA_SIZE_MAX} octets")
        text = octets.decode("ascii")
        new_context(text)
    except OSError as error:
        if isinstance(error, ssl.SSLError):  # which is an OSError
            raise _fault(file, "has no certificates in PEM") from error
        raise _fault(file, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _fault(file, "has no certificates in PEM") from error
    return text


def new_context(authorities: str | None) -> ssl.SSLContext:
    """Return a client's context that trusts these certificates (PEM), or the system's.

    Raises:
        ssl.SSLError: the text has no certificate.
    """
    return ssl.create_default_context(cadata=authorities)


class TlsClient:
    """One TLS connection from the client's side.

    The caller sends what `outgoing` returns after every call, and hands what arrives to `feed`.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def feed(self, octets: bytes) -> None:
        """Take in what arrived; nothing says that the peer has closed."""
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    def outgoing(self) -> bytes:
        """Return what has to be sent."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is over.

        Raises:
            Failed: it failed.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _failure(error) from error
        return True

    @property
    def certificate_expires_s(self) -> int | None:
        """When the peer's certificate expires, as Unix time; known after the handshake."""
        told = (self._tls.getpeercert() or {}).get("notAfter")
        try:
            return None if told is None else ssl.cert_time_to_seconds(str(told))
        except ValueError:  # a year beyond what the standard library reads
            return None

    def write(self, octets: bytes) -> None:
        """Encrypt what `outgoing` then has.

        Raises:
            Failed: the connection is broken.
        """
        try:
            self._tls.write(octets)
        except ssl.SSLError as error:
            raise _failure(error) from error

    def read(self, octets_max: int) -> bytes | None:
        """Return what was decrypted, nothing at the end, None when more must arrive first.

        Raises:
            Failed: the connection is broken.
        """
        try:
            return self._tls.read(octets_max)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""  # with or without a word of farewell: the protocol above knows its end
        except ssl.SSLError as error:
            raise _failure(error) from error


def _failure(error: ssl.SSLError) -> Failed:
    if isinstance(error, ssl.SSLCertVerificationError):
        result = _FAULTS.get(error.verify_code, ServiceResult.CERTIFICATE_UNTRUSTED)
        return Failed(result, error.verify_message)
    if isinstance(error, ssl.SSLEOFError):
        return Failed(ServiceResult.CLOSED, "during TLS")
    return Failed(ServiceResult.TLS_ERROR, (error.reason or "no TLS").replace("_", " ").lower())


def _fault(file: pathlib.Path, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(file), None, "", "", expected)])
