"""Decompression of bodies that stops at a limit, whatever the octets claim."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import zstandard

IDENTITY: Final = "identity"
GZIP: Final = "gzip"
ZSTD: Final = "zstd"

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# RFC 8878 §3.1.1.1.2 recommends decoders to bear 8 MiB; a larger window only costs us memory.
_ZSTD_WINDOW_MAX: Final = 8 * 2**20
# A zstd block of 4 octets can yield 128 KiB, and the library yields all that a piece of input
# holds: a piece of 256 octets overshoots the limit by 8 MiB at most.
_ZSTD_PIECE: Final = 256


class _Ours(threading.local):
    """A decompressor of each thread, whose memory is used again and again."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)


_ours = _Ours()


class NotDecompressed(ValueError):
    """The octets are not one whole stream of their encoding."""


class TooLarge(NotDecompressed):
    """The stream holds more than may be held."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the body holds more than {bytes_max} octets when decompressed")


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Return what a body holds, `encoding` being one of `ENCODINGS`.

    Raises:
        TooLarge: it holds more than `bytes_max`.
        NotDecompressed: the octets are not one whole stream.
    """
    return _DECODERS[encoding](body, bytes_max)


def _identity(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise TooLarge(bytes_max)
    return body


def _gzip(body: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = stream.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise NotDecompressed(f"the body is not gzip: {error}") from error
    if len(plain) > bytes_max:
        raise TooLarge(bytes_max)
    if not stream.eof:
        raise NotDecompressed("the gzip body is truncated")
    if stream.unused_data:
        raise NotDecompressed("octets follow the gzip stream")
    return plain


def _zstd(body: bytes, bytes_max: int) -> bytes:
    decompressor = _ours.decompressor
    with suppress(zstandard.ZstdError):  # which the way below words better
        size = zstandard.frame_content_size(body)
        if size > bytes_max:
            raise TooLarge(bytes_max)
        if size > 0:  # as the sender says; the library holds the stream to it
            return decompressor.decompress(body, allow_extra_data=False)
    return _zstd_stream(decompressor, body, bytes_max)


def _zstd_stream(decompressor: zstandard.ZstdDecompressor, body: bytes, bytes_max: int) -> bytes:
    stream = decompressor.decompressobj()
    plain = bytearray()
    position = 0
    try:
        while position < len(body) and not stream.eof:
            plain += stream.decompress(body[position : position + _ZSTD_PIECE])
            position += _ZSTD_PIECE
            if len(plain) > bytes_max:
                raise TooLarge(bytes_max)
    except zstandard.ZstdError as error:
        raise NotDecompressed(f"the body is not zstd: {error}") from error
    if not stream.eof:
        raise NotDecompressed("the zstd body is truncated")
    if stream.unused_data or position < len(body):
        raise NotDecompressed("octets follow the zstd frame")
    return bytes(plain)


_DECODERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    IDENTITY: _identity,
    GZIP: _gzip,
    ZSTD: _zstd,
}
ENCODINGS: Final = tuple(_DECODERS)
