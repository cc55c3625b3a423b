"""The demo asks for no rights: it has a real link where it may, and says why where it may not."""

import json
import os
import subprocess
import sys

import pytest
from own_networks import NO_RIGHTS, SEARCH_PATH, require_networks
from processes import complaints

# In a user namespace of no rights, which grants no further one.
NOTHING = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"',
    *("sh", *NO_RIGHTS),
)

pytestmark = pytest.mark.waits


def run_demo(directory, *prefix):
    """Return the final state and the output of the shortest demo."""
    state = directory / "state.json"
    demo = [sys.executable, "-P", "-m", "netslo", "demo", "--duration", "30", "--json", state]
    done = subprocess.run(
        [*prefix, *demo],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "PATH": SEARCH_PATH, "TMPDIR": str(directory)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not complaints(done.stderr)
    return json.loads(state.read_text()), " ".join(done.stdout.split())


def test_a_user_may_have_a_real_link_of_his_own(tmp_path) -> None:
    require_networks(*NO_RIGHTS)
    state, output = run_demo(tmp_path, *NO_RIGHTS)
    assert state["lab"]["lack"] is None
    path = next(each for each in state["paths"] if each["path"] == state["lab"]["path"])
    assert path["answered"]
    assert path["truth"]["rtt"]["count"]
    assert "Real link under london:edinburgh/be" in output


def test_without_any_rights_the_demo_goes_on_and_says_what_it_lacks(tmp_path) -> None:
    trial = [*NOTHING, "true"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this host cannot take a user namespace's rights away")
    state, output = run_demo(tmp_path, *NOTHING)
    assert state["lab"]["path"] is None
    assert state["lab"]["lack"].startswith("not root, and no user namespace is granted: unshare:")
    assert f"Real link: not shown: {state['lab']['lack']}" in output
    path = next(each for each in state["paths"] if each["path"] == "london:edinburgh/be")
    assert path["truth"]["rtt"]["quantiles"]["0.5"]["value"] > 0.003  # of the emulated WAN
