"""Two tests never share a bottleneck: the table itself, and a thousand random schedules of it."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.bandwidth import lease as rules
from probes.bandwidth.book import LeaseBook, forgetful_table
from probes.bandwidth.bottleneck import names_between
from probes.bandwidth.lease import (
    HOLD_S_MAX,
    RATE_ERROR,
    RENEW_S,
    STOP_S,
    TERM_S,
    TERM_S_MAX,
    Busy,
    Lease,
    LeaseTable,
)

LINK = names_between("leeds", "london")


def test_a_lease_is_of_all_names_or_of_none():
    table = LeaseTable(1)
    first = table.acquire(["a--b", "site:a"], "shell", 10, 100)
    assert isinstance(first, Lease)
    busy = table.acquire(["a--c", "site:a"], "agent", 10, 103)
    assert busy == Busy("shell", 7)
    assert isinstance(table.acquire(["a--c"], "agent", 10, 103), Lease)


def test_a_dead_holders_lease_ends_and_its_token_means_nothing_then():
    table = LeaseTable(1)
    dead = table.acquire(LINK, "dead", 15, 0)
    assert isinstance(table.acquire(LINK, "next", 15, 14.999), Busy)
    following = table.acquire(LINK, "next", 15, 15)
    assert following.token > dead.token
    assert table.renew(dead.token, 15, 15) is None
    assert not table.valid(dead.token, 15)
    table.release(dead.token, 15)
    assert table.valid(following.token, 16)


def test_renewal_never_shortens_and_has_an_end():
    table, now_s = LeaseTable(1), 0.0
    token = table.acquire(LINK, "long", 30, now_s).token
    assert table.renew(token, 5, 1).ends_s == 30
    while (renewed := table.renew(token, TERM_S, now_s)) is not None:
        assert renewed.ends_s <= HOLD_S_MAX
        now_s += RENEW_S
    assert HOLD_S_MAX - TERM_S - RENEW_S <= now_s <= HOLD_S_MAX


def test_a_keeper_that_forgot_waits_for_the_longest_term():
    table = forgetful_table(1, 100.0)
    assert table.acquire(LINK, "x", 5, 100).remaining_s == TERM_S_MAX
    assert isinstance(table.acquire(LINK, "x", 5, 100 + TERM_S_MAX), Lease)


@pytest.mark.parametrize(
    ("names", "holder", "term_s"),
    [
        ([], "x", 5),
        ([""], "x", 5),
        (["a" * 161], "x", 5),
        (["a\n"], "x", 5),
        ([str(n) for n in range(9)], "x", 5),
        (["a"], "", 5),
        (["a"], "x\0", 5),
        (["a"], "x", 0),
        (["a"], "x", -1),
        (["a"], "x", TERM_S_MAX + 1),
        (["a"], "x", float("nan")),
    ],
)
def test_what_is_out_of_bounds_is_refused(names, holder, term_s):
    with pytest.raises(ValueError, match=r"names|term|characters|lease"):
        LeaseTable(1).acquire(names, holder, term_s, 0)


def test_a_table_is_bounded():
    table = LeaseTable(1)
    found = [table.acquire([f"n{n}"], "flood", 10, 0) for n in range(rules.LEASES_MAX + 1)]
    assert isinstance(found[-1], Busy)
    assert sum(isinstance(each, Lease) for each in found) == rules.LEASES_MAX


@given(st.floats(0.5, 30), st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 5))
def test_a_holder_has_stopped_before_its_keeper_leases_again(term_s, holder, keeper, transit_s):
    """Real time 0 is when the holder asked; the keeper heard of it later."""
    holder_rate, keeper_rate = 1 + RATE_ERROR * holder, 1 + RATE_ERROR * keeper
    stops_s = rules.usable_until(0.0, term_s) / holder_rate
    leases_again_s = transit_s + term_s / keeper_rate
    assert stops_s + STOP_S / (1 + RATE_ERROR) <= leases_again_s + 1e-9


# --- a thousand schedules ---

SITES = ("a", "b", "c")
Step = Generator[float, None, None]


@dataclass
class Host:
    """A site's host: a clock, and the keeper that goes by it."""

    name: str
    offset_s: float
    rate: float
    durable: bool  # its keeper writes down what it leases
    book: LeaseBook = field(default_factory=lambda: LeaseBook(LeaseTable(1), boot="0"))
    boots: int = 0
    booted_s: float = 0.0  # real time

    def now_s(self, real_s: float) -> float:
        return self.offset_s + (real_s - self.booted_s) * self.rate


@dataclass
class Run:
    """When a test loaded its link, real time."""

    ends: frozenset[str]
    start_s: float
    end_s: float = float("inf")


@dataclass
class World:
    """Hosts, testers, messages that may be late or lost, crashes and restarts; all from a seed."""

    seed: int
    usable_until: Callable[[float, float], float] = rules.usable_until
    waits_after_restart: bool = True
    harm: bool = True
    real_s: float = 0.0
    runs: list[Run] = field(default_factory=list)
    tokens: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.queue: list[tuple[float, int, Step]] = []
        self.order = itertools.count()
        self.hosts = {
            name: Host(
                name,
                self.random.uniform(0, 1e6),
                1 + RATE_ERROR * self.random.choice([-1, 0, 1, self.random.uniform(-1, 1)]),
                self.random.random() < 0.6,
            )
            for name in SITES
        }

    def start(self, step: Step, after_s: float = 0.0) -> None:
        heapq.heappush(self.queue, (self.real_s + after_s, next(self.order), step))

    def play(self, until_s: float) -> None:
        while self.queue and self.queue[0][0] <= until_s:
            self.real_s, _, step = heapq.heappop(self.queue)
            wait_s = next(step, None)
            if wait_s is not None:
                self.start(step, wait_s)

    def latency_s(self) -> float:
        """Mostly quick, at times a whole term late."""
        slow = self.harm and self.random.random() < 0.1
        return self.random.uniform(0, 2 * TERM_S_MAX) if slow else self.random.uniform(0, 0.05)

    # A tester, as `hold.py` is one

    def tester(self, near: str, far: str, length_s: float) -> Step:
        here, boots = self.hosts[near], self.hosts[near].boots
        names = names_between(near, far)
        holds: dict[str, tuple[int, float]] = {}  # by host: token, usable until
        gone = False
        for end in sorted((near, far)):
            asked_s = here.now_s(self.real_s)
            answer = yield from self.ask(near, end, lambda host: self.lease(host, names))
            gone = here.boots != boots
            if gone or not isinstance(answer, int):
                break
            holds[end] = (answer, self.usable_until(asked_s, TERM_S))
        until_s = min((each[1] for each in holds.values()), default=0.0)
        if gone:
            return
        if len(holds) < 2 or here.now_s(self.real_s) >= until_s:
            yield from self.give_back(near, holds)
            return
        yield from self.load(near, far, holds, length_s)
        if here.boots == boots:
            yield from self.give_back(near, holds)

    def load(self, near: str, far: str, holds, length_s: float) -> Step:
        """Load the link until done, killed, or the lease cannot be kept."""
        here, boots = self.hosts[near], self.hosts[near].boots
        run = Run(frozenset((near, far)), self.real_s)
        self.runs.append(run)
        killed_s = self.real_s + (self.random.expovariate(1 / 30) if self.harm else 1e9)
        done_s = self.real_s + length_s
        renewed_s = self.real_s
        while True:
            yield 0.1
            until_s = min(each[1] for each in holds.values())
            drains_s = self.random.uniform(0, STOP_S * 0.9)  # and the 0.1 s above
            if here.boots != boots or self.real_s >= killed_s:
                run.end_s = self.real_s + drains_s
                holds.clear()
                return
            if here.now_s(self.real_s) >= until_s or self.real_s >= done_s:
                run.end_s = self.real_s + drains_s
                return
            if self.real_s - renewed_s >= RENEW_S:
                renewed_s = self.real_s
                for end in holds:
                    self.start(self.renewal(near, end, holds))

    def renewal(self, near: str, end: str, holds) -> Step:
        token, _ = holds[end]
        asked_s = self.hosts[near].now_s(self.real_s)
        answer = yield from self.ask(
            near, end, lambda host: host.book.table.renew(token, TERM_S, host.now_s(self.real_s))
        )
        if answer is not None and holds.get(end, (None,))[0] == token:
            holds[end] = (token, max(holds[end][1], self.usable_until(asked_s, TERM_S)))

    def give_back(self, near: str, holds) -> Step:
        for end, (token, _) in sorted(holds.items(), reverse=True):
            yield from self.ask(near, end, lambda host, token=token: self.release(host, token))

    def release(self, host: Host, token: int) -> None:
        host.book.release(token, STOP_S, host.now_s(self.real_s), round(self.real_s * 1e9))

    def ask(self, near: str, end: str, what):
        """Have a keeper do something; None when a message is lost, after a while."""
        host = self.hosts[end]
        if end == near:
            return what(host)
        if self.harm and self.random.random() < 0.05:
            yield 5.0
            return None
        yield self.latency_s()
        answer = what(host)
        if self.harm and self.random.random() < 0.05:
            yield 5.0
            return None
        yield self.latency_s()
        return answer

    def lease(self, host: Host, names) -> int | Busy:
        now_s, wall_ns = host.now_s(self.real_s), round(self.real_s * 1e9)
        found = host.book.acquire(names, f"at {self.real_s}", TERM_S, now_s, wall_ns)
        if isinstance(found, int):
            self.tokens.setdefault(host.name, []).append(found)
        return found

    # What befalls hosts

    def restart_keeper(self, host: Host) -> None:
        """Its process is killed and begun anew: a file is read again, memory is empty."""
        now_s, wall_ns = host.now_s(self.real_s), round(self.real_s * 1e9)
        if host.durable:
            written = host.book.to_json()
            host.book = LeaseBook.from_json(written, str(host.boots), now_s, wall_ns)
        else:
            host.book = self.forgotten(host, now_s)

    def restart_host(self, host: Host) -> None:
        """Everything on it dies, and its clock begins anew."""
        written = host.book.to_json()
        host.boots += 1
        host.booted_s, host.offset_s = self.real_s, self.random.uniform(0, 100)
        now_s, wall_ns = host.now_s(self.real_s), round(self.real_s * 1e9)
        if host.durable and self.waits_after_restart:
            host.book = LeaseBook.from_json(written, str(host.boots), now_s, wall_ns)
        else:
            host.book = self.forgotten(host, now_s)

    def forgotten(self, host: Host, now_s: float) -> LeaseBook:
        token = host.book.table.next_token
        if self.waits_after_restart:
            return LeaseBook(forgetful_table(token, now_s), boot=str(host.boots))
        return LeaseBook(LeaseTable(token), boot=str(host.boots))

    def misfortune(self) -> Step:
        while True:
            yield self.random.expovariate(1 / 40)
            host = self.hosts[self.random.choice(SITES)]
            (self.restart_host if self.random.random() < 0.5 else self.restart_keeper)(host)

    def crowd(self) -> Step:
        """Begin tests all the time, in both directions of every link."""
        while True:
            yield self.random.expovariate(1 / 3)
            near, far = self.random.sample(SITES, 2)
            self.start(self.tester(near, far, self.random.uniform(0.5, 40)))

    def overlaps(self) -> list[tuple[Run, Run]]:
        """Return the tests that shared an end, and so all that a link is, at the same time."""
        return [
            (x, y)
            for x, y in itertools.combinations(self.runs, 2)
            if x.ends & y.ends and x.start_s < y.end_s and y.start_s < x.end_s
        ]


def played(seed: int, until_s: float = 150.0, **options) -> World:
    world = World(seed, **options)
    world.start(world.crowd())
    world.start(world.misfortune())
    world.play(until_s)
    return world


def test_no_two_tests_overlap_in_a_thousand_random_schedules():
    runs = 0
    for seed in range(1000):
        world = played(seed)
        assert world.overlaps() == [], f"seed {seed}"
        for tokens in world.tokens.values():
            assert tokens == sorted(set(tokens)), f"seed {seed}"
        runs += len(world.runs)
    assert runs > 3000  # it was not for want of tests


@pytest.mark.parametrize(
    "fault",
    [
        {"waits_after_restart": False},
        {"usable_until": lambda asked_s, term_s: asked_s + term_s},
        {"usable_until": lambda asked_s, term_s: asked_s + term_s + STOP_S},
        {"usable_until": lambda asked_s, term_s: asked_s + 2 * term_s},
    ],
    ids=["no wait after a restart", "no margin", "a margin the wrong way", "twice the term"],
)
def test_the_schedules_tell_rules_that_are_wrong(fault):
    assert any(played(seed, **fault).overlaps() for seed in range(1000))


def test_after_a_crash_a_test_runs_again_within_the_term():
    """Whatever happened before; the far keeper may have restarted, too: then the longest term."""
    for seed in range(200):
        world = played(seed, 120.0)
        host = world.hosts["b"]
        restarted = seed % 2
        if restarted:
            world.restart_host(host)
        # Everybody dies now, and messages under way are lost.
        world.queue.clear()
        world.harm = False
        before, died_s = len(world.runs), world.real_s
        for run in world.runs:
            run.end_s = min(run.end_s, died_s + STOP_S)

        def again(world=world, before=before):
            while len(world.runs) == before:
                world.start(world.tester("a", "b", 1.0))
                yield 0.5

        world.start(again())
        world.play(died_s + 200)
        waited_s = world.runs[before].start_s - died_s
        # A keeper that had restarted by misfortune, just before, waits as well.
        waits = [each.book.table.free_from_s > 0 for each in world.hosts.values()]
        limit_s = TERM_S_MAX if restarted or any(waits) else TERM_S
        assert waited_s <= limit_s * (1 + 2 * RATE_ERROR) + 2.0, f"seed {seed}"
        assert world.overlaps() == [], f"seed {seed}"
