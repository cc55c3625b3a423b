from lab.fixtures import pair, wan

__all__ = ["pair", "wan"]
