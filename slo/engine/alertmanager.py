"""Alertmanager's API, version 2: alerts are told again and again while they are in force.

Alertmanager takes an alert for over when its `endsAt` has passed. A collector that dies must end
none, for nobody knows whether it is over: so each is promised for a day, and its end is told by
itself. Only the heartbeat is promised for a few intervals, so that a dead-man's switch sees it run
out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from netslo.errors import ConfigurationError
from slo.engine.book import Alert
from slo.rules.rules import Alert as Name
from slo.web_address import is_url

INTERVAL_S: Final = 30.0
HEARTBEAT: Final = 6  # intervals that it is promised for, so that a short trouble ends nothing
PROMISED_S: Final = 86_400.0  # what all other alerts are
_TIMEOUT_S: Final = 5.0
_TELLING_S: Final = 15.0  # all requests to one; the next look waits for them
_TOGETHER_MAX: Final = 500  # alerts in one request
_SUCCESS: Final = 2  # hundred; a redirection is not followed, so nobody has taken anything
_ENDED_MAX: Final = 10_000
_ENDED_TOLD_S: Final = 300.0  # how long it is told that an alert is over, or until all took it

_log = logging.getLogger(__name__)


def alerts_url(url: str) -> str:
    """Return where alerts are posted, of an Alertmanager's base URL.

    Raises:
        ConfigurationError: the URL is not of http or https, or names no host.
    """
    if not is_url(url):
        raise ConfigurationError(f"{url}: must be a URL, such as http://alertmanager:9093")
    return f"{url.rstrip('/')}/api/v2/alerts"


def to_post(
    firing: Iterable[Alert], ended: Iterable[Alert], now_s: float, *, interval_s: float, source: str
) -> list[dict[str, Any]]:
    """Return what Alertmanager is told at `now_s`, and then again each interval."""
    found = [
        (alert, now_s + (HEARTBEAT * interval_s if alert.name == Name.WATCHDOG else PROMISED_S))
        for alert in firing
    ]
    found += [(alert, alert.ends_s) for alert in ended if alert.ends_s is not None]
    return [
        {
            "labels": dict(alert.labels),
            "annotations": alert.annotations,
            "startsAt": _rfc3339(alert.starts_s if alert.starts_s is not None else now_s),
            "endsAt": _rfc3339(ends_s),
            "generatorURL": source,
        }
        for alert, ends_s in found
    ]


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")


class Alertmanagers:
    """Tells one or several, each on its own: one that is down delays none of the others."""

    def __init__(
        self, urls: Sequence[str], *, source: str = "", interval_s: float = INTERVAL_S
    ) -> None:
        self.told = 0  # requests that were taken
        self.failed = 0
        self.trouble: dict[str, str] = {}  # by URL: why the last request was not taken
        self._urls = [alerts_url(url) for url in urls]
        self._source = source
        self._interval_s = interval_s
        self._ended: deque[Alert] = deque(maxlen=_ENDED_MAX)
        self._untaken: deque[Alert] = deque(maxlen=_ENDED_MAX)

    @property
    def untaken(self) -> Sequence[Alert]:
        """What is over and somebody may not know of yet."""
        return tuple(self._untaken)

    async def tell(self, firing: Sequence[Alert], ended: Iterable[Alert], now_s: float) -> None:
        """Tell what is in force, and what is over, for a while."""
        new = tuple(ended)
        self._ended.extend(new)
        self._untaken.extend(new)
        if not self.trouble:  # who did not hear of an end would believe the promise
            while self._ended and now_s - (self._ended[0].ends_s or now_s) > _ENDED_TOLD_S:
                self._ended.popleft()
        again = {alert.labels for alert in firing}
        over = [alert for alert in self._ended if alert.labels not in again]
        every = self._interval_s
        said = to_post(firing, over, now_s, interval_s=every, source=self._source)
        if said and self._urls:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
                await asyncio.gather(*(self._post(session, url, said) for url in self._urls))
        if not self.trouble:
            self._untaken.clear()

    async def _post(
        self, session: aiohttp.ClientSession, url: str, said: Sequence[dict[str, Any]]
    ) -> None:
        problem = None
        try:
            async with asyncio.timeout(_TELLING_S):
                for first in range(0, len(said), _TOGETHER_MAX):
                    part = said[first : first + _TOGETHER_MAX]
                    async with session.post(url, json=part, allow_redirects=False) as answer:
                        if answer.status // 100 == _SUCCESS:
                            self.told += 1
                        else:  # of the others it may take what is theirs
                            self.failed += 1
                            problem = f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.failed += 1
            problem = str(error) or type(error).__name__
        if problem is not None and url not in self.trouble:
            _log.warning("%s does not take alerts: %s", url, problem)
        if problem is not None:
            self.trouble[url] = problem
        elif self.trouble.pop(url, None) is not None:
            _log.warning("%s takes alerts again", url)
