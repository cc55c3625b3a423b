"""Keepers as processes see them: agreement, death, restarts of the host, damaged files."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from netslo.errors import NetsloError
from probes.bandwidth import granting, keeper, state
from probes.bandwidth.bottleneck import ends_name, names_between
from probes.bandwidth.busy import BusyError, LeaseLost
from probes.bandwidth.clock import now_s
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.hold import hold
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.lease import STOP_S, TERM_S, TERM_S_MAX, Busy
from probes.bandwidth.state import StateDirectory

NAMES = names_between("london", "leeds")
TERM_FOR_TESTS_S = 3.0
HOLDERS_TERM_S = 5.0
BOUND_S = 60.0  # of anything, on a busy machine


def keeper_of(directory: pathlib.Path) -> FileKeeper:
    return FileKeeper(StateDirectory(directory))


def until(condition, bound_s: float = BOUND_S) -> None:
    ends_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def test_names_are_the_same_from_both_ends():
    assert names_between("b", "a") == ("a--b", "site:b", "site:a")
    assert set(names_between("a", "b")) == set(names_between("b", "a"))
    assert ends_name("192.0.2.7", "192.0.2.1") == ends_name("192.0.2.1", "192.0.2.7")


def test_two_shells_agree_and_the_loser_hears_who_and_how_long(tmp_path):
    one, other = (KeptLeases(keeper_of(tmp_path), drain_s=0) for _ in range(2))
    granted = one.grant(NAMES, 60, "a shell of ann")
    with pytest.raises(
        BusyError, match=r"leeds--london is busy: a shell of ann tests there"
    ) as said:
        other.grant(NAMES, 60, "the agent")
    assert 0 < said.value.retry_after_s <= TERM_S
    granted.release()
    granted.release()
    other.grant(NAMES, 60, "the agent").release()


def test_no_two_tests_share_an_end_whatever_lies_beyond(tmp_path):
    leases = KeptLeases(keeper_of(tmp_path))
    granted = leases.grant(names_between("london", "leeds"), 60, "one")
    with pytest.raises(BusyError):
        leases.grant(names_between("london", "dundee"), 60, "two")
    granted.release()


def test_a_lease_that_is_released_is_busy_until_its_queues_are_empty(tmp_path):
    leases = KeptLeases(keeper_of(tmp_path), drain_s=3)
    granted = leases.grant(NAMES, 60, "one")
    granted.release()
    with pytest.raises(BusyError) as said:
        leases.grant(NAMES, 60, "two")
    assert said.value.retry_after_s <= 3
    unused = []
    until(lambda: _tries(leases, unused))
    unused[0].release()  # nothing of it was on the way


def _tries(leases: KeptLeases, found: list) -> bool:
    try:
        found.append(leases.grant(NAMES, 60, "two", begun=False))
    except BusyError:
        return False
    return True


def test_a_lease_is_renewed_until_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(granting, "TERM_S", TERM_FOR_TESTS_S)
    monkeypatch.setattr(granting, "RENEW_S", 0.05)
    leases = KeptLeases(keeper_of(tmp_path))
    granted = leases.grant(NAMES, 2.0, "one")
    first_s = granted.usable_until_s
    until(lambda: granted.usable_until_s > first_s)
    until(lambda: not granted.usable)
    with pytest.raises(LeaseLost):
        granted.check()
    granted.release()


def test_a_disk_that_takes_nothing_ends_the_test_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(granting, "TERM_S", TERM_FOR_TESTS_S)
    monkeypatch.setattr(granting, "RENEW_S", 0.05)
    kept = keeper_of(tmp_path)
    granted = KeptLeases(kept).grant(NAMES, 60, "one")

    def full(*_args, **_options):
        raise NetsloError("no space left on device")

    monkeypatch.setattr(kept._state, "replace", full)
    until(lambda: not granted.usable)
    assert now_s() < granted.usable_until_s + BOUND_S
    granted.release()  # it cannot be written, and nobody is hurt


HOLDER = """
import pathlib, sys, time
from probes.bandwidth import granting
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.state import StateDirectory
granting.TERM_S, granting.RENEW_S = 5.0, 0.5
leases = KeptLeases(FileKeeper(StateDirectory(pathlib.Path(sys.argv[1]))))
leases.grant(("leeds--london",), 600, "the one that dies")
print("held", flush=True)
time.sleep(600)
"""


def child(script: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.waits
def test_the_lease_of_a_killed_process_ends_by_itself(tmp_path):
    holder = child(HOLDER, str(tmp_path))
    try:
        assert holder.stdout.readline() == "held\n"
        leases = KeptLeases(keeper_of(tmp_path))
        with pytest.raises(BusyError, match="the one that dies"):
            leases.grant(NAMES, 60, "me")
        until_s = now_s() + HOLDERS_TERM_S + 1
        while now_s() < until_s:  # it is renewed: longer than its term
            with pytest.raises(BusyError):
                leases.grant(NAMES, 60, "me")
            time.sleep(0.2)
    finally:
        holder.kill()
        holder.communicate()
    with pytest.raises(BusyError) as said:  # dead, and still remembered
        leases.grant(NAMES, 60, "me")
    assert said.value.retry_after_s <= HOLDERS_TERM_S
    died_s, found = now_s(), []
    until(lambda: _tries(leases, found))
    assert now_s() - died_s >= said.value.retry_after_s - 0.5
    found[0].release()


WORKER = """
import os, pathlib, random, sys, time
from probes.bandwidth import granting
from probes.bandwidth.busy import BusyError
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.state import StateDirectory
granting.TERM_S, granting.RENEW_S = 3.0, 0.2
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
leases = KeptLeases(FileKeeper(StateDirectory(pathlib.Path(sys.argv[1]))), drain_s=0)
def note(what):
    os.write(log, f"{os.getpid()} {what} {time.clock_gettime_ns(time.CLOCK_BOOTTIME)}\\n".encode())
while True:
    try:
        granted = leases.grant(("a--b",), 60, str(os.getpid()))
    except BusyError:
        time.sleep(random.uniform(0, 0.02))
        continue
    ends = time.monotonic() + random.uniform(0, 0.1)
    if granted.usable:
        note("begin")
        while granted.usable and time.monotonic() < ends:
            time.sleep(0.005)
        note("end")
    granted.release()
"""


@pytest.mark.waits
def test_processes_that_are_killed_at_random_never_test_together(tmp_path):
    log, dice = tmp_path / "log", random.Random(6)
    workers = [child(WORKER, str(tmp_path / "state"), str(log)) for _ in range(3)]
    killed = set()
    try:
        for _ in range(4):
            seen = len(_spans(log))
            until(lambda seen=seen: len(_spans(log)) >= seen + 5)
            victim = workers.pop(dice.randrange(len(workers)))
            victim.kill()
            victim.communicate()
            killed.add(victim.pid)
            workers.append(child(WORKER, str(tmp_path / "state"), str(log)))
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    spans = sorted(_spans(log))
    assert len(spans) >= 20
    for (_, end_ns), (begin_ns, _) in itertools.pairwise(spans):
        assert end_ns <= begin_ns


def _spans(log: pathlib.Path) -> list[tuple[int, int]]:
    """Return when each test began and ended; of one that was killed, when it began."""
    open_: dict[str, int] = {}
    found = []
    for line in log.read_text().splitlines() if log.exists() else ():
        pid, what, at_ns = line.split()
        if what == "begin":
            open_[pid] = int(at_ns)
        else:
            found.append((open_.pop(pid), int(at_ns)))
    return found + [(at_ns, at_ns) for at_ns in open_.values()]


def test_a_host_that_was_restarted_waits_for_holders_elsewhere(tmp_path, monkeypatch):
    before = keeper_of(tmp_path)
    token = before.acquire(NAMES, "from afar", TERM_S)
    assert before.begin(token)
    monkeypatch.setattr(keeper, "boot_id", lambda: "another start")
    after = keeper_of(tmp_path)
    assert not after.valid(token)
    assert not after.renew(token, TERM_S)
    busy = after.acquire(NAMES, "me", TERM_S)
    assert TERM_S_MAX - BOUND_S < busy.remaining_s <= TERM_S_MAX
    (load,) = after.loads()  # it may go on
    assert load.end_ns > time.time_ns() + 5e9
    clock_s = now_s() + TERM_S_MAX
    monkeypatch.setattr(keeper, "now_s", lambda: clock_s)
    assert isinstance(after.acquire(NAMES, "me", TERM_S), int)


def test_who_does_not_know_the_start_agrees_with_who_does(tmp_path, monkeypatch):
    """A service that sees little of /proc, beside one that sees all."""
    seeing = keeper_of(tmp_path)
    monkeypatch.setattr(keeper, "boot_id", lambda: "")
    blind = keeper_of(tmp_path)
    token = seeing.acquire(NAMES, "seeing", TERM_S)
    assert blind.acquire(NAMES, "blind", TERM_S).holder == "seeing"
    assert blind.renew(token, TERM_S)
    assert seeing.valid(token)
    monkeypatch.setattr(keeper, "boot_id", lambda: "another start")
    assert not keeper_of(tmp_path).valid(token)  # the blind one has kept what it read
    early_s = now_s() - 1000  # the clock of a host that was started anew
    monkeypatch.setattr(keeper, "now_s", lambda: early_s)
    assert isinstance(blind.acquire(NAMES, "blind", TERM_S), Busy)
    assert not blind.valid(token)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b"1e999",
        b'{"leases": 3}',
        b'{"leases": [], "loads": [], "loading_ns": {"1": 1e999}}',
        b"\xff\xfe",
        b'{"boot": "", "leases": []}',
    ],
)
def test_a_file_that_is_lost_or_damaged_leases_nothing_for_a_while(tmp_path, body):
    kept = keeper_of(tmp_path)
    first = kept.acquire(NAMES, "one", 1.0)
    file = tmp_path / state.LEASES_FILE
    file.unlink() if body is None else file.write_bytes(body)
    busy = keeper_of(tmp_path).acquire(NAMES, "two", TERM_S)
    assert isinstance(busy, Busy)
    assert busy.remaining_s > TERM_S
    assert not kept.valid(first)
    again = kept.acquire(NAMES, "two", TERM_S)  # it is written down since when
    assert again.remaining_s <= busy.remaining_s


def test_a_new_folder_need_not_wait(tmp_path):
    assert isinstance(keeper_of(tmp_path / "new" / "deep").acquire(NAMES, "x", TERM_S), int)


def test_what_is_loaded_is_seen_from_its_beginning_until_it_has_drained(tmp_path):
    kept, wall_ns = keeper_of(tmp_path), time.time_ns()
    granted = KeptLeases(kept, drain_s=1.5).grant(NAMES, 60, "one", begun=False)
    assert kept.loads() == []
    granted.begin()
    (load,) = keeper_of(tmp_path).loads()
    assert wall_ns <= load.start_ns <= time.time_ns()
    assert load.end_ns > time.time_ns() + 5e9  # as long as its lease
    granted.release()
    (over,) = keeper_of(tmp_path).loads()
    assert over.start_ns == load.start_ns
    assert over.end_ns <= time.time_ns() + 1.5e9
    assert "leeds--london" in over.names


def test_the_load_of_a_dead_holder_ends_with_its_lease(tmp_path, monkeypatch):
    kept = keeper_of(tmp_path)
    kept.begin(kept.acquire(NAMES, "dead", 2.0))
    (going,) = kept.loads()
    later_s, later_ns = now_s() + 100, time.time_ns() + 100_000_000_000
    monkeypatch.setattr(keeper, "now_s", lambda: later_s)
    monkeypatch.setattr(keeper.time, "time_ns", lambda: later_ns)
    assert isinstance(kept.acquire(NAMES, "next", TERM_S), int)
    over = kept.loads()[0]
    assert abs(over.end_ns - going.end_ns) < 2e9  # by two readings of two clocks


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NetsloError, match=f"{tmp_path}/file: state folder"):
        StateDirectory(tmp_path / "file")


def test_a_lock_that_nobody_lets_go_of_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "_LOCK_WAIT_S", 0.1)
    held, going = threading.Event(), threading.Event()

    def keep():
        with StateDirectory(tmp_path).locked():
            held.set()
            going.wait(BOUND_S)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert held.wait(BOUND_S)
        with pytest.raises(NetsloError, match="lock"):
            StateDirectory(tmp_path)
    finally:
        going.set()
        thread.join()


def test_the_folder_is_private_and_has_one_name_for_ever(tmp_path):
    directory = tmp_path / "state"
    first = StateDirectory(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert StateDirectory(directory).id == first.id
    assert json.loads((directory / state.LEASES_FILE).read_text()) == {}


def test_where_state_is_kept_if_nobody_says(tmp_path, monkeypatch):
    monkeypatch.setenv(state.VARIABLE, str(tmp_path / "named"))
    assert state.default_state_directory() == tmp_path / "named"
    monkeypatch.delenv(state.VARIABLE)
    monkeypatch.setattr(state, "_SYSTEM", tmp_path / "absent" / "netslo")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state.default_state_directory() == tmp_path / "netslo"
    monkeypatch.setattr(state, "_SYSTEM", tmp_path / "netslo-system")
    assert state.default_state_directory() == tmp_path / "netslo-system"


# --- both ends ---


class Far:
    """A control channel of a few lines: it leases at its own end as long as it is open."""

    def __init__(self, leases: KeptLeases) -> None:
        self.leases = leases
        self.keeper = leases.id
        self.granted = None

    def begin(self, seconds: float, names: tuple[str, ...], holder: str) -> None:
        self.granted = self.leases.grant(names, seconds, holder)

    def close(self) -> None:
        if self.granted is not None:
            self.granted.release()


def test_opposite_directions_get_in_each_others_way_and_one_wins(tmp_path):
    """Both begin with the same end, so both never give up for each other."""
    ends = [KeptLeases(keeper_of(tmp_path / name), drain_s=0) for name in "ab"]
    inside, together, wins = [], [], []

    def tester(near: KeptLeases, far: KeptLeases, name: str) -> None:
        for _ in range(5):
            with hold(near, lambda: Far(far), NAMES, 30, name, wait_s=BOUND_S, sleep=nap) as held:
                inside.append(name)
                together.append(len(inside))
                held.check()
                time.sleep(0.01)
                inside.remove(name)
                wins.append(name)

    def nap(_seconds: float) -> None:
        time.sleep(random.uniform(0, 0.02))

    threads = [
        threading.Thread(target=tester, args=(*pair, name))
        for pair, name in ((ends, "ab"), (ends[::-1], "ba"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * BOUND_S)
    assert sorted(wins) == ["ab"] * 5 + ["ba"] * 5
    assert set(together) == {1}


def test_ends_that_share_a_folder_need_one_lease(tmp_path):
    leases = KeptLeases(keeper_of(tmp_path))
    with hold(leases, lambda: Far(leases), NAMES, 60, "me") as held:
        assert held.usable
        with pytest.raises(BusyError, match="me tests there"):
            leases.grant(NAMES, 60, "another")


@pytest.mark.parametrize("busy_end", ["near", "far"])
def test_an_end_that_is_busy_leaves_nothing_held_at_the_other(tmp_path, busy_end):
    near, far = (KeptLeases(keeper_of(tmp_path / name), drain_s=0) for name in ("near", "far"))
    taken, other = (near, far) if busy_end == "near" else (far, near)
    other_holder = taken.grant(NAMES, 60, "somebody")
    with (
        pytest.raises(BusyError, match="somebody"),
        hold(near, lambda: Far(far), NAMES, 60, "me"),
    ):
        pass
    other.grant(NAMES, 60, "free").release()
    other_holder.release()


def test_a_failure_in_the_test_gives_both_ends_back(tmp_path):
    near, far = (KeptLeases(keeper_of(tmp_path / name), drain_s=0) for name in ("near", "far"))
    with pytest.raises(ZeroDivisionError), hold(near, lambda: Far(far), NAMES, 60, "me"):
        raise ZeroDivisionError
    for leases in (near, far):
        leases.grant(NAMES, 60, "next").release()


def test_a_stopped_holder_finds_its_lease_gone(tmp_path):
    """SIGSTOP: it comes back after its lease, and must not go on."""
    script = HOLDER.replace("time.sleep(600)", "") + (
        "import threading\n"
        "granted = [t for t in threading.enumerate() if t.name == 'lease'][0]._target.__self__\n"
        "while granted.usable: time.sleep(0.01)\n"
        "print('stopped', time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)\n"
    )
    holder = child(script, str(tmp_path))
    try:
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        leases, found = KeptLeases(keeper_of(tmp_path)), []
        until(lambda: _tries(leases, found))
        os.kill(holder.pid, signal.SIGCONT)
        assert holder.stdout.readline().startswith("stopped")
        assert found[0].usable or now_s() >= found[0].usable_until_s
        found[0].release()
    finally:
        holder.kill()
        holder.communicate()


def test_the_margin_leaves_time_to_stop(tmp_path):
    granted = KeptLeases(keeper_of(tmp_path)).grant(NAMES, 60, "one")
    assert granted.usable_until_s < now_s() + TERM_S - STOP_S
    granted.release()
