"""Child processes of a run: heard, asked, ended, and never left behind."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import child_targets
import pytest
from own_networks import have_names, held_by, lack_of_networks, who_holds
from processes import complaints, is_running, pids_of_group, wait_gone
from real_prometheus import wait_until

from netslo.app import children
from netslo.app.children import Child, stop_all
from netslo.errors import NetsloError


@pytest.fixture
def begin():
    started = []

    def start(target):
        started.append(Child("part", target).start())
        return started[-1]

    yield start
    stop_all(started)


def test_a_child_says_when_it_is_ready_and_ends_when_it_is_told(begin) -> None:
    child = begin(child_targets.say_pid)
    pid = child.wait_ready()
    assert is_running(pid)
    child.stop()
    assert not is_running(pid)
    assert not child.alive


def test_a_child_with_an_event_loop_ends_as_well(begin, monkeypatch) -> None:
    monkeypatch.setattr(children, "STOP_TIMEOUT_S", 60.0)
    child = begin(child_targets.use_asyncio)
    assert child.wait_ready() == "loop"
    child.stop()
    assert child._process.exitcode == 0  # it was not killed


def test_signals_may_interrupt_each_other_in_telling_a_child_to_stop() -> None:
    """As when its parent's and a group's come together; `threading.Event` does not bear it."""
    script = """
        import signal
        from netslo.app.children import StopEvent

        event = StopEvent()
        signal.signal(signal.SIGALRM, lambda *_: event.set())
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        for _ in range(20_000):
            event.set()
            assert event.wait(1e-5)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("ended")
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr) == ("ended\n", "")


def test_a_child_answers(begin) -> None:
    child = begin(child_targets.double)
    child.wait_ready()
    assert [child.request(number) for number in (1, 21)] == [2, 42]


def test_what_keeps_a_child_from_starting_reaches_the_user(begin) -> None:
    with pytest.raises(NetsloError, match="the port is taken") as caught:
        begin(child_targets.refuse).wait_ready()
    assert caught.value.exit_code == 2


def test_a_child_that_vanishes_is_noticed(begin) -> None:
    child = begin(child_targets.vanish)
    with pytest.raises(NetsloError, match="part ended unexpectedly"):
        child.wait_ready()


def test_a_child_that_does_not_obey_is_killed(begin, monkeypatch) -> None:
    monkeypatch.setattr(children, "STOP_TIMEOUT_S", 0.5)
    child = begin(child_targets.ignore_everything)
    child.wait_ready()
    child.stop()
    assert not child.alive


def test_children_die_with_a_parent_that_is_killed() -> None:
    code = """
        import sys, time
        sys.path.insert(0, {support!r})
        import child_targets
        from netslo.app.children import Child
        if __name__ == "__main__":
            print(Child("part", child_targets.say_pid).start().wait_ready(), flush=True)
            time.sleep(600)
    """
    support = str(pathlib.Path(child_targets.__file__).parent)
    script = textwrap.dedent(code).format(support=support)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        child_pid = int(parent.stdout.readline())
        parent.kill()
    assert not wait_gone([child_pid])


def _networks(group: int) -> set[str]:
    found: set[str] = set()
    for pid in pids_of_group(group):
        with contextlib.suppress(OSError):  # it has ended
            found |= held_by(pid)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_early_leaves_no_process_behind(tmp_path, number) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-P", "-m", "netslo", "demo", "--duration", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    with demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if "of 144 paths" in line)
        wait_until(lambda: len(pids_of_group(demo.pid)) >= 5, "its parts")
        networks = set() if lack_of_networks() else wait_until(lambda: _networks(demo.pid), "nets")
        # With the group, nothing is left that holds them.
        holders = who_holds(networks)
        group = pids_of_group(demo.pid)
        assert holders <= set(group)
        assert not have_names(networks)
        demo.send_signal(number)
        output, errors = demo.communicate(timeout=200)
    assert not wait_gone(group)
    if number != signal.SIGKILL:
        assert demo.returncode == 0
        assert "Summary" in output
        assert not complaints(errors)
        assert not list(tmp_path.glob("netslo-demo-*"))
