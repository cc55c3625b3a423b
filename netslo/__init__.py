"""The ground of netslo: vocabulary, units, metric names, configuration and errors."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("netslo")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
