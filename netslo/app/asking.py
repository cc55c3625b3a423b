"""What a run asks its own collector."""

from __future__ import annotations

import http.client
from typing import Final

from netslo.model import Endpoint

_TIMEOUT_S: Final = 1.0
_ANSWER_MAX: Final = 1 << 20


def ask(collector: Endpoint, path: str) -> bytes:
    """Return the answer to a GET.

    Raises:
        OSError, http.client.HTTPException: there was none in time.
    """
    connection = http.client.HTTPConnection(collector.host, collector.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(_ANSWER_MAX)
    finally:
        connection.close()
