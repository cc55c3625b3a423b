"""Decompression that stops at a limit, whatever the octets claim."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

import zstandard

from analytics.collector.limits import Refusal

_GZIP: Final = 16 + zlib.MAX_WBITS
# RFC 8878 §3.1.1.1.2 recommends decoders to bear 8 MiB; a larger window only costs us memory.
_ZSTD_WINDOW_MAX: Final = 8 * 2**20
# A zstd block of 4 octets can yield 128 KiB, and the library yields all that a piece of input
# holds: a piece of 256 octets overshoots the limit by 8 MiB at most.
_ZSTD_PIECE: Final = 256


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Return what a body holds, `encoding` being one of `ENCODINGS`.

    Raises:
        Refusal: 413 beyond `bytes_max`, 400 for octets that are not one whole stream.
    """
    return _DECODERS[encoding](body, bytes_max)


def _identity(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body


def _gzip(body: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not gzip: {error}") from error
    if len(plain) > bytes_max:
        raise _too_large(bytes_max)
    if not stream.eof:
        raise Refusal(400, "the gzip body is truncated")
    if stream.unused_data:
        raise Refusal(400, "octets follow the gzip stream")
    return plain


def _zstd(body: bytes, bytes_max: int) -> bytes:
    stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX).decompressobj()
    plain = bytearray()
    position = 0
    try:
        while position < len(body) and not stream.eof:
            plain += stream.decompress(body[position : position + _ZSTD_PIECE])
            position += _ZSTD_PIECE
            if len(plain) > bytes_max:
                raise _too_large(bytes_max)
    except zstandard.ZstdError as error:
        raise Refusal(400, f"the body is not zstd: {error}") from error
    if not stream.eof:
        raise Refusal(400, "the zstd body is truncated")
    if stream.unused_data or position < len(body):
        raise Refusal(400, "octets follow the zstd frame")
    return bytes(plain)


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, f"the body holds more than {bytes_max} octets when decompressed")


_DECODERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "identity": _identity,
    "gzip": _gzip,
    "zstd": _zstd,
}
ENCODINGS: Final = tuple(_DECODERS)
