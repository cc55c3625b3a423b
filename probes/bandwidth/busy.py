"""What is said when others test already."""

from __future__ import annotations

from netslo.errors import NetsloError


class BusyError(NetsloError):
    """Another test holds the bottleneck; `retry_after_s` is when its lease ends, if known."""

    def __init__(self, what: str, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class LeaseLost(NetsloError):
    """A lease could not be kept, so the test was ended before it ran out."""
