from lab.fixtures import diamond, pair, wan

__all__ = ["diamond", "pair", "wan"]
