"""Asks a Prometheus over its HTTP API; native histograms included."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from netslo.errors import ConfigurationError, NetsloError

_TIMEOUT_S: Final = 30.0
_ANSWER_BYTES_MAX: Final = 256 * 2**20


class QueryError(NetsloError):
    """Prometheus does not answer, or refuses a query; the message says which."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a native histogram, and how much is in it."""

    low: float
    high: float
    count: float


@dataclass(frozen=True, slots=True)
class Series:
    """One series: values by time, seconds; NaN is kept. Or histograms by time."""

    labels: Mapping[str, str]
    times_s: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    histograms: tuple[tuple[float, tuple[Bucket, ...]], ...] = ()

    @property
    def has_data(self) -> bool:
        """Whether anything is there that can be drawn."""
        return bool(self.histograms) or not all(map(math.isnan, self.values))


class Prometheus:
    """A server, by its base URL such as http://host:9090/prefix."""

    def __init__(self, url: str) -> None:
        """Know a server; nothing is asked yet.

        Raises:
            ConfigurationError: the URL is none.
        """
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            parts, self._host = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or self._host is None:
            raise ConfigurationError(f"--prometheus {url!r} must be an http or https URL")
        self._secure = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self.url = url

    def version(self) -> str:
        """Return the server's version, such as 2.42.0."""
        return str(self._ask("/api/v1/status/buildinfo", {})["version"])

    def at(self, expr: str, at_s: float) -> list[Series]:
        """Return the result of an instant query."""
        return _read(self._ask("/api/v1/query", {"query": expr, "time": f"{at_s:.3f}"}), at_s)

    def over(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """Return the result of a range query."""
        asked = {"query": expr, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}
        return _read(self._ask("/api/v1/query_range", {**asked, "step": f"{step_s:g}"}), end_s)

    def label_values(self, label: str, match: str, start_s: float, end_s: float) -> list[str]:
        """Return the values that a label has among the series that `match` selects, sorted."""
        asked = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}
        if match:
            asked["match[]"] = match
        path = f"/api/v1/label/{quote(label, safe='')}/values"
        return sorted(map(str, self._ask(path, asked, method="GET")))

    def _ask(self, path: str, asked: Mapping[str, str], method: str | None = None) -> Any:
        method = method or ("POST" if asked else "GET")
        query = urlencode(asked)
        target, body = self._prefix + path, None
        headers = {"Accept": "application/json"}
        if method == "POST":
            body, headers["Content-Type"] = query, "application/x-www-form-urlencoded"
        elif query:
            target += f"?{query}"
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host or "", self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, body, headers)
            text = connection.getresponse().read(_ANSWER_BYTES_MAX)
            answer = json.loads(text)
        except (OSError, http.client.HTTPException) as error:
            raise QueryError(f"Prometheus at {self.url} does not answer: {error}") from error
        except ValueError as error:
            raise QueryError(f"{self.url} answers no JSON: is it a Prometheus?") from error
        finally:
            connection.close()
        if not isinstance(answer, dict) or answer.get("status") != "success":
            said = answer.get("error") if isinstance(answer, dict) else None
            of = asked.get("query", path)
            raise QueryError(f"Prometheus refuses {of!r}: {said or 'no reason given'}")
        return answer["data"]


def _read(data: Any, at_s: float) -> list[Series]:
    if data["resultType"] == "scalar":
        return [Series({}, (at_s,), (float(data["result"][1]),))]
    return [_series(each) for each in data["result"]]


def _series(raw: Mapping[str, Any]) -> Series:
    points = raw.get("values") or ([raw["value"]] if "value" in raw else [])
    pictures = raw.get("histograms") or ([raw["histogram"]] if "histogram" in raw else [])
    return Series(
        raw["metric"],
        tuple(float(at_s) for at_s, _ in points),
        tuple(float(value) for _, value in points),
        tuple(
            (
                float(at_s),
                tuple(
                    Bucket(float(low), float(high), float(count))
                    for _, low, high, count in told.get("buckets", ())
                ),
            )
            for at_s, told in pictures
        ),
    )
