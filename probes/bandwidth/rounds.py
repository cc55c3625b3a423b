"""Regular tests under way: one after the other, each by its own schedule, in one thread."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from analytics.readings import QUANTILES, STATES, Reading
from netslo import metrics
from netslo.errors import NetsloError
from netslo.model import Path
from probes.bandwidth.agenda import AGENT, RegularTest
from probes.bandwidth.budget import Budget, BudgetExceeded
from probes.bandwidth.busy import BusyError
from probes.bandwidth.entering import Account, entered
from probes.bandwidth.measuring import BandwidthMeasuring
from probes.bandwidth.plan import Method
from probes.bandwidth.result import BandwidthResult
from probes.bandwidth.state import StateDirectory
from probes.engine_thread import EngineThread
from probes.warm_up import warm_up

TRIES: Final = 5  # of one test, while others hold the bottleneck
TRY_AGAIN_S: Final = (5.0, 25.0)
_TICK_S: Final = 0.1

DONE: Final = "done"
BUSY: Final = "busy"  # others held the bottleneck all the time
REFUSED: Final = "over_budget"
FAILED: Final = "failed"
OUTCOMES: Final = (DONE, BUSY, REFUSED, FAILED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one test."""

    path: Path
    outcome: str  # one of OUTCOMES
    readings: tuple[Reading, ...] = ()


Run = Callable[[RegularTest, "Rounds"], BandwidthResult]


class Rounds:
    """Runs tests at their times until stopped; `arrange` says which.

    A test whose time comes while another one runs waits for it; of its times that pass meanwhile
    only the last counts. `on_round` is called in the thread of `run`.
    """

    def __init__(self, on_round: Callable[[Round], None], run_test: Run | None = None) -> None:
        self._on_round = on_round
        self._run_test = run_test or run_regular
        self._due_ns: dict[RegularTest, int] = {}  # monotonic
        self._changed = threading.Condition()
        self._stopped = False
        self._under_way: BandwidthMeasuring | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing more shall be tested."""
        return self._stopped

    def arrange(self, tests: Iterable[RegularTest]) -> None:
        """Run these tests and no others from now on; what is the same keeps its time."""
        now_ns = time.monotonic_ns()
        with self._changed:
            self._due_ns = {
                test: self._due_ns.get(test, now_ns + random.randrange(test.interval_ns))
                for test in tests
            }
            self._changed.notify_all()

    def stop(self) -> None:
        """End soon, and what is under way at once."""
        with self._changed:
            self._stopped = True
            if self._under_way is not None:
                self._under_way.stop()
            self._changed.notify_all()

    def run(self) -> None:
        """Test until stopped."""
        while (test := self._next()) is not None:
            found = self._try(test)
            if found is not None:
                self._on_round(found)

    def watch(self, measuring: BandwidthMeasuring) -> None:
        """Let `stop` end this test, too."""
        with self._changed:
            self._under_way = measuring
            if self._stopped:
                measuring.stop()

    def _next(self) -> RegularTest | None:
        """Wait for the next test's time; None: stopped."""
        with self._changed:
            while not self._stopped:
                if not self._due_ns:
                    self._changed.wait()
                    continue
                test = min(self._due_ns, key=lambda each: self._due_ns[each])
                left_ns = self._due_ns[test] - time.monotonic_ns()
                if left_ns > 0:
                    self._changed.wait(min(left_ns / 1e9, threading.TIMEOUT_MAX))
                    continue
                missed = -left_ns // test.interval_ns
                self._due_ns[test] += (missed + 1) * test.interval_ns
                return test
        return None

    def _try(self, test: RegularTest) -> Round | None:
        """Run a test, again if others hold the bottleneck; None: stopped meanwhile."""
        outcome, result = BUSY, None
        for _ in range(TRIES):
            outcome, result = self._attempt(test)
            if outcome != BUSY or self._sleep(random.uniform(*TRY_AGAIN_S)):
                break
        if result is None:
            return None if self._stopped else Round(test.path, outcome)
        found = readings_of(test.path, result)
        if result.stopped and not found:
            return None
        return Round(test.path, outcome if found else FAILED, tuple(found))

    def _attempt(self, test: RegularTest) -> tuple[str, BandwidthResult | None]:
        try:
            return DONE, self._run_test(test, self)
        except BusyError as error:
            _log.info("%s: %s", test.path, error)
            return BUSY, None
        except BudgetExceeded as error:
            _log.warning("%s is not tested: %s", test.path, error)
            return REFUSED, None
        except (NetsloError, OSError) as error:
            _log.warning("%s could not be tested: %s", test.path, error)
            return FAILED, None
        finally:
            with self._changed:
                self._under_way = None

    def _sleep(self, seconds: float) -> bool:
        """Wait; return whether it was stopped."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopped, seconds)


def run_regular(test: RegularTest, rounds: Rounds) -> BandwidthResult:
    """Run one test as `netslo measure bandwidth` does: leased at both ends, and paid for.

    Raises:
        BusyError: another test holds the bottleneck.
        BudgetExceeded: the day has not so much left.
        NetsloError: it cannot be done.
    """
    if test.plan.method is Method.TCP:
        warm_up()  # before others wait for us
    state = StateDirectory(test.directory)
    account = Account(Budget(state, test.octets_a_day), AGENT)
    with entered(test.plan, state, account) as measuring:
        rounds.watch(measuring)
        EngineThread(measuring).run(measuring.check_lease, _TICK_S)
    return measuring.result


def readings_of(path: Path, result: BandwidthResult) -> list[Reading]:
    """Return the figures of a test as they are published; directions without one have none."""
    found = []
    for each in result.directions:
        common = (path, each.ended_ns)
        told = (each.direction.value, each.method.value)
        if each.bit_per_s is not None:
            found.append(Reading(*common, metrics.BANDWIDTH, *told, each.bit_per_s))
        if each.loaded is None:
            continue
        for state in STATES:
            for q in QUANTILES:
                value_s = each.loaded.quantile(state, float(q))
                if value_s is not None:
                    found.append(Reading(*common, metrics.LOADED_RTT, *told, value_s, state, q))
    return found
