import os

import pytest

from analytics import _kernels

# Where the indices of kernels are checked, numpy has none that were not checked before.
_WAYS = (
    {"kernel": True} if os.environ.get("NUMBA_BOUNDSCHECK") else {"kernel": True, "numpy": False}
)


@pytest.fixture(params=_WAYS.values(), ids=_WAYS, scope="module")
def kernels(request):
    """Run the tests of a module by kernel, and again by numpy."""
    if request.param and not _kernels.load():
        pytest.skip("numba is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "_loaded", request.param)
        patch.setattr(_kernels, "_enabled", request.param)
        yield
