"""What is written where an encoding lacks a character."""

import io

import pytest

from netslo.app.plain_text import write_plainly


def written(text: str, encoding: str) -> str:
    octets = io.BytesIO()
    stream = io.TextIOWrapper(octets, encoding=encoding)
    write_plainly([stream, object(), io.StringIO()])
    stream.write(text)
    stream.flush()
    return octets.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("1.36 µs ≥ 2 ✓ ✗ █▏ 漢", "ascii", "1.36 us >= 2 + x ## ?"),
        ("1.36 µs ≥ 2", "latin-1", "1.36 µs >= 2"),
        ("1.36 µs ≥ 2 ✓ █▏ 漢", "utf-8", "1.36 µs ≥ 2 ✓ █▏ 漢"),
        ("\ud800", "utf-8", "?"),
    ],
)
def test_what_cannot_be_written_is_replaced_and_nothing_else(text, encoding, expected) -> None:
    assert written(text, encoding) == expected
