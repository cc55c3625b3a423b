import pytest

from analytics import _kernels


@pytest.fixture(params=[True, False], ids=["kernel", "numpy"], scope="module")
def kernels(request):
    """Run the tests of a module by kernel, and again by numpy."""
    if request.param and not _kernels.load():
        pytest.skip("numba is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "_loaded", request.param)
        patch.setattr(_kernels, "_enabled", request.param)
        yield
