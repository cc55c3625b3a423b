"""`netslo` as a command, for tests of the files that call it."""

import subprocess
import sys

import pytest


@pytest.fixture
def netslo():
    """Return a function which runs `netslo` to its end."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-P", "-m", "netslo", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
