"""Key files: what is a key, what is not, and what a person is told."""

import logging
import os

import pytest

from netslo.config.keys import SIZE_MAX, read_key, read_keys
from netslo.errors import ConfigurationError

KEY = b"a key of 20 octets!!"


def write(file, octets, mode=0o600):
    file.write_bytes(octets)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("octets", "key"),
    [
        (KEY, KEY),
        (KEY + b"\n", KEY),
        (KEY + b"\r\n", KEY),
        (KEY + b"\n\n", KEY + b"\n"),
        (b" " + KEY + b" ", b" " + KEY + b" "),
        (bytes(range(16)), bytes(range(16))),
        (b"x" * SIZE_MAX + b"\r\n", b"x" * SIZE_MAX),
    ],
    ids=["bare", "line", "DOS line", "two lines' ends", "blanks", "octets", "the longest"],
)
def test_a_key_is_the_file_without_its_line_end(tmp_path, octets, key, caplog) -> None:
    assert read_key(write(tmp_path / "key", octets)) == key
    assert not caplog.records


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", "a key of 0 octets; expected 16 to 4096"),
        (b"fifteen octets!\n", "a key of 15 octets"),
        (b"x" * (SIZE_MAX + 1), "a key of more octets"),
        (b"x" * (SIZE_MAX + 100), "a key of more octets"),
    ],
)
def test_what_is_too_short_or_too_long_is_no_key(tmp_path, octets, expected) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        read_key(write(tmp_path / "key", octets))
    assert str(tmp_path / "key") in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_key_that_others_may_use_is_taken_with_a_warning(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_key(write(tmp_path / "key", KEY, 0o640)) == KEY
    assert "mode 0640" in caplog.text
    assert KEY.decode() not in caplog.text


def test_neither_a_folder_nor_a_pipe_nor_nothing_is_a_key(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, expected in ((".", "ordinary file"), ("pipe", "ordinary file"), ("no", "No such")):
        with pytest.raises(ConfigurationError, match=expected):
            read_key(tmp_path / name)


def test_the_faults_of_all_files_are_said_at_once(tmp_path) -> None:
    good, short = write(tmp_path / "good", KEY), write(tmp_path / "short", b"x")
    with pytest.raises(ConfigurationError) as caught:
        read_keys({good, short, tmp_path / "absent"})
    assert [problem.file for problem in caught.value.problems] == [
        str(tmp_path / "absent"),
        str(short),
    ]
    assert read_keys({good}) == {good: KEY}
