"""What a first start says of the kernels that it compiles."""

import pathlib

import pytest

from analytics import _kernels, warm_up


@pytest.mark.parametrize(
    ("folder", "said"),
    [(pathlib.Path("/var/cache/numba"), "kept in /var/cache/numba"), (None, "kept nowhere: set")],
)
def test_a_slow_start_says_where_kernels_are_kept(monkeypatch, caplog, folder, said) -> None:
    monkeypatch.setattr(warm_up, "_PATIENCE_S", -1.0)
    monkeypatch.setattr(warm_up, "_exercise", lambda: None)
    monkeypatch.setattr(_kernels, "available", lambda: True)
    monkeypatch.setattr(_kernels, "load", lambda: True)
    monkeypatch.setattr(_kernels, "cache_folder", lambda: folder)
    assert warm_up.warm_up()
    assert said in caplog.text
