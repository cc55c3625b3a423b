"""What a host lacks is said with its cost; each lack is made by taking the ability away."""

import os

import probes.abilities
from probes.abilities import lacking


def taken_away(monkeypatch, **replaced):
    for name, value in replaced.items():
        monkeypatch.setattr(probes.abilities, name, value)


def refuse(*_, **__):
    raise PermissionError(1, "not permitted")


def test_a_host_without_anything_says_all(monkeypatch):
    monkeypatch.delenv("NETSLO_REALTIME", raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    taken_away(
        monkeypatch,
        enable_timestamps=lambda *_, **__: False,
        open_echo_socket=refuse,
        SHARED_RECEIVE_BUFFER=1 << 40,
    )
    notices = lacking(echo=True)
    words = ["quality C", "receive buffers of", "real-time priority", "ICMP is unmeasured"]
    assert [word for word, notice in zip(words, notices, strict=True) if word not in notice] == []
    assert all(len(notice) < 200 for notice in notices)  # a collector takes no longer attribute
    assert len(lacking()) == 3


def test_a_host_without_numba_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert any("no numba" in notice for notice in lacking())


def test_who_wants_no_priority_does_not_lack_it(monkeypatch):
    monkeypatch.setenv("NETSLO_REALTIME", "0")
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert not any("priority" in notice for notice in lacking())


def test_echo_without_a_route_is_no_lack(monkeypatch):
    def unreachable(*_):
        raise OSError(101, "Network is unreachable")

    taken_away(monkeypatch, open_echo_socket=unreachable)
    assert not any("ICMP" in notice for notice in lacking(echo=True))


def test_trying_leaves_this_thread_as_it_was():
    before = os.sched_getscheduler(0)
    lacking(echo=True)
    assert os.sched_getscheduler(0) == before
