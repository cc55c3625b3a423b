"""The byte budget: durable, shared, never spent twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netslo.errors import NetsloError
from netslo.units import format_octets, parse_octets
from probes.bandwidth import budget as module
from probes.bandwidth.budget import OCTETS_A_DAY, Budget, BudgetExceeded
from probes.bandwidth.state import StateDirectory

NOON_S = 1_764_504_000.0  # 2025-11-30 12:00 UTC
DAY_S = 86_400


def budget_of(directory, limit=None, at_s=NOON_S) -> Budget:
    return Budget(StateDirectory(directory), limit, wall=lambda: at_s)


def test_what_was_reserved_is_counted_until_it_is_settled_by_what_was_used(tmp_path):
    budget = budget_of(tmp_path, 1000)
    reservation = budget.reserve(600, "shell")
    assert (budget.today().spent, budget.today().by_whom()) == (600, {"shell": 600})
    budget.settle(reservation, 150)
    budget.settle(reservation, 150)  # once
    assert budget.today().spent == 150
    budget.settle(budget.reserve(850, "agent"), 900)  # more than it meant to
    assert budget.today().by_whom() == {"agent": 900, "shell": 150}


def test_a_test_beyond_the_budget_is_refused_with_figures_and_forced_on_record(tmp_path):
    budget = budget_of(tmp_path, 2_000_000_000)
    budget.settle(budget.reserve(1_900_000_000, "agent"), 1_900_000_000)
    with pytest.raises(BudgetExceeded) as said:
        budget.reserve(312_500_000, "shell")
    assert str(said.value) == (
        "the test may take 312.5 MB, and 100 MB of 2 GB are left for 2025-11-30 (UTC); "
        "--force goes beyond"
    )
    assert (said.value.wanted, said.value.left) == (312_500_000, 100_000_000)
    assert budget.today().spent == 1_900_000_000
    budget.reserve(312_500_000, "shell", force=True)
    assert (budget.today().forced, budget.today().spent) == (1, 2_212_500_000)
    with pytest.raises(BudgetExceeded, match="0 B of 2 GB"):
        budget.reserve(1, "shell")


def test_a_day_is_of_utc_and_a_test_belongs_to_the_day_that_it_began(tmp_path):
    late = budget_of(tmp_path, 100, NOON_S + DAY_S / 2 - 1)
    reservation = late.reserve(100, "night")
    early = budget_of(tmp_path, None, NOON_S + DAY_S / 2)
    assert early.today().spent == 0
    early.settle(reservation, 30)
    assert [(day.day, day.spent) for day in early.days()] == [("2025-11-30", 30)]
    early.reserve(100, "morning")
    assert [day.day for day in early.days()] == ["2025-12-01", "2025-11-30"]


def test_days_are_forgotten_after_a_month(tmp_path):
    for n in range(50):
        budget_of(tmp_path, 100, NOON_S + n * DAY_S).reserve(1, "agent")
    days = budget_of(tmp_path).days()
    assert len(days) == module.DAYS_KEPT
    assert days[0].day == "2026-01-18"


def test_the_limit_is_of_the_site_and_not_of_who_asks(tmp_path):
    assert budget_of(tmp_path).limit == OCTETS_A_DAY
    budget_of(tmp_path, 5_000_000)
    assert budget_of(tmp_path).limit == 5_000_000


CRASH = """
import os, pathlib, signal, sys
from probes.bandwidth.budget import Budget
from probes.bandwidth.state import StateDirectory
Budget(StateDirectory(pathlib.Path(sys.argv[1]))).reserve(700, "crashed")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_counts_as_all_that_was_reserved(tmp_path):
    Budget(StateDirectory(tmp_path), 1000)
    subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], check=False)
    budget = Budget(StateDirectory(tmp_path))
    assert budget.days()[0].by_whom() == {"crashed": 700}
    if budget.today().spent:  # it is not midnight
        with pytest.raises(BudgetExceeded):
            budget.reserve(400, "next")


def test_threads_never_spend_the_same_octet(tmp_path):
    budget_of(tmp_path, 1000)
    refused = []

    def spend():
        mine = budget_of(tmp_path)
        for _ in range(20):
            try:
                mine.settle(mine.reserve(10, "x"), 10)
            except BudgetExceeded:
                refused.append(1)

    threads = [threading.Thread(target=spend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (budget_of(tmp_path).today().spent, len(refused)) == (1000, 20)


STEPS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 500) | st.none(), st.booleans()), max_size=15
)


@settings(suppress_health_check=list(HealthCheck), max_examples=30)
@given(steps=STEPS)
def test_what_is_spent_is_what_was_used_and_what_crashed(tmp_path_factory, steps):
    budget, expected = budget_of(tmp_path_factory.mktemp("budget"), 1000), 0
    for octets, used, force in steps:
        try:
            reservation = budget.reserve(octets, "x", force=force)
        except BudgetExceeded:
            assert not force
            assert expected + octets > 1000
            continue
        assert force or expected + octets <= 1000
        if used is not None:
            budget.settle(reservation, used)
        expected += octets if used is None else used
        assert budget.today().spent == expected


def test_many_names_are_counted_as_one(tmp_path):
    budget = budget_of(tmp_path)
    for n in range(100):
        budget.settle(budget.reserve(1, f"shell {n}"), 1)
    whom = budget.today().by_whom()
    assert (len(whom), sum(whom.values())) == (65, 100)


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"limit": 5, "days": {"today": {}}}', '{"limit": 1e999, "days": {}}']
)
def test_a_damaged_file_is_said_and_nothing_is_spent(tmp_path, body):
    budget = budget_of(tmp_path)
    (tmp_path / module.FILE).write_text(body)
    with pytest.raises(NetsloError, match=r"budget\.json: is damaged"):
        budget.reserve(1, "x")
    assert (tmp_path / module.FILE).read_text() == body


def test_a_full_disk_refuses_and_keeps_what_was_written(tmp_path, monkeypatch):
    budget = budget_of(tmp_path, 1000)
    budget.reserve(10, "x")
    before = (tmp_path / module.FILE).read_text()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("probes.durable.os.fsync", full)
    with pytest.raises(NetsloError, match="No space left"):
        budget.reserve(10, "y")
    monkeypatch.undo()
    assert (tmp_path / module.FILE).read_text() == before
    assert json.loads(before)["limit"] == 1000
    assert budget.today().spent == 10


@pytest.mark.parametrize(
    ("text", "octets"), [("2GB", 2_000_000_000), ("1.5 MB", 1_500_000), ("10kB", 10_000), ("1B", 1)]
)
def test_amounts_are_read(text, octets):
    assert parse_octets(text) == octets


@pytest.mark.parametrize("text", ["", "2", "GB", "2 GiB", "-1GB", "0GB", "1e9B", "0.1B", "2gb"])
def test_amounts_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="not an amount of data"):
        parse_octets(text)


@pytest.mark.parametrize(
    ("octets", "text"), [(0, "0 B"), (999, "999 B"), (312_500_000, "312.5 MB"), (2e9, "2 GB")]
)
def test_amounts_are_written(octets, text):
    assert format_octets(octets) == text
