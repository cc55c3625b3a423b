"""Windows at rest: the store interface and its SQLite implementation."""

from analytics.store.interface import Appended, SloTotals, StoreFull, WindowStore

__all__ = ["Appended", "SloTotals", "StoreFull", "WindowStore"]
