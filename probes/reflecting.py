"""`netslo reflect`: reflectors with the signals and the service manager around them."""

from __future__ import annotations

import contextlib
import pathlib
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from netslo.config.keys import read_key
from netslo.errors import NetsloError
from netslo.model import Endpoint
from netslo.notify import Notifier
from probes.reflectors import Reflectors, Station

if TYPE_CHECKING:
    from probes.bandwidth.serving import BandwidthService

_TICK_S: Final = 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def reflect_until_stopped(
    reflectors: Reflectors,
    endpoints: Sequence[Endpoint],
    key_file: pathlib.Path | None,
    summary_s: float | None,
    say: Callable[[str], None],
    tests: BandwidthService | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; at SIGHUP read the key again.

    Args:
        reflectors: What answers.
        endpoints: Where it shall.
        key_file: The key, if only authenticated packets are answered.
        summary_s: How often to say what was answered; None: only at the end.
        say: Where lines for a person go.
        tests: What answers bandwidth tests, if anything does.

    Raises:
        NetsloError: it cannot begin.
    """
    notifier = Notifier()
    stations = _stations(endpoints, key_file)
    if tests is not None:
        tests.bind(endpoints)  # what is wrong is said before kernels are compiled
    with _signals() as received:
        try:
            reflectors.arrange(stations)
            sealed = "" if key_file is None else ", authenticated packets only"
            for endpoint in reflectors.endpoints:
                say(f"answering STAMP on {endpoint}, UDP{sealed}")
            if tests is not None:
                _serve_tests(tests, reflectors, key_file, say)
            notifier.ready(_status(reflectors))
            said_s = time.monotonic()
            while (number := _next(received)) in (None, signal.SIGHUP):
                reflectors.check()
                if tests is not None:
                    tests.check()
                notifier.beat()
                if number is not None:
                    _read_again(reflectors, endpoints, key_file, notifier, say)
                    if tests is not None:
                        _take_key(tests, key_file)
                if summary_s is not None and time.monotonic() - said_s >= summary_s:
                    said_s = time.monotonic()
                    _say_all(reflectors, say, tests)
                    notifier.status(_status(reflectors))
            notifier.stopping()
        finally:
            if tests is not None:
                tests.end()
            reflectors.end()
    _say_all(reflectors, say, tests)


def _serve_tests(
    tests: BandwidthService,
    reflectors: Reflectors,
    key_file: pathlib.Path | None,
    say: Callable[[str], None],
) -> None:
    key = None if key_file is None else read_key(key_file)
    for endpoint in tests.begin(key, reflectors.endpoints):
        sealed = "" if key is None else ", for holders of the key only"
        say(f"answering bandwidth tests on {endpoint}, TCP and UDP{sealed}")


def _take_key(tests: BandwidthService, key_file: pathlib.Path | None) -> None:
    """Have tests that begin from now on know the key as it is now, if it is good."""
    with contextlib.suppress(NetsloError):  # said already
        tests.take_key(None if key_file is None else read_key(key_file))


def _say_all(
    reflectors: Reflectors, say: Callable[[str], None], tests: BandwidthService | None
) -> None:
    """Say what was answered so far, and by its cause what was not."""
    say(_status(reflectors))
    for reason, packets in reflectors.discarded.most_common():
        say(f"  {packets}: {reason}")
    if tests is not None:
        say(f"{tests.tests} bandwidth tests, {tests.discarded.total()} requests refused")
        for reason, requests in tests.discarded.most_common():
            say(f"  {requests}: {reason}")


def _read_again(
    reflectors: Reflectors,
    endpoints: Sequence[Endpoint],
    key_file: pathlib.Path | None,
    notifier: Notifier,
    say: Callable[[str], None],
) -> None:
    """Take the key as it is now; one that is no good is said, and the one before stays."""
    notifier.reloading()
    try:
        reflectors.arrange(_stations(endpoints, key_file))
    except NetsloError as error:
        say(f"not reloaded, all goes on: {error}")
    else:
        say("reloaded")
    notifier.ready(_status(reflectors))


def _stations(endpoints: Sequence[Endpoint], key_file: pathlib.Path | None) -> list[Station]:
    key = None if key_file is None else read_key(key_file)
    return [Station(endpoint, key) for endpoint in endpoints]


def _status(reflectors: Reflectors) -> str:
    return f"{reflectors.reflected} packets answered, {reflectors.discarded.total()} discarded"


def _next(received: queue.SimpleQueue[int]) -> int | None:
    try:
        return received.get(timeout=_TICK_S)
    except queue.Empty:
        return None


@contextmanager
def _signals() -> Iterator[queue.SimpleQueue[int]]:
    """Yield a queue of the signals that come meanwhile."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()

    def note(number: int, _frame: FrameType | None) -> None:
        received.put(number)

    previous = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
