"""Kill -9 at the worst moment: no window is lost that was closed, and none counts twice."""

import time
import urllib.request

import pytest
from ports import free_port
from real_prometheus import wait_until

from analytics.store.sqlite import SqliteStore
from analytics.windows import PathWindow, Selector

pytestmark = pytest.mark.waits


def start_collector(start, estate_dir, listen: str) -> tuple[object, str]:
    collector = start("collect", "-c", estate_dir, "--listen", listen)
    return collector, collector.wait_for(r"http://(\S+:\d+)")[1]


def start_probe(start, estate_dir, address: str):
    sites = ["--site", "london", "--site", "edinburgh"]
    probe = start("probe", "-c", estate_dir, *sites, "--collector", f"http://{address}")
    probe.wait_for("measuring 2 paths")
    return probe


def start_reflectors(start, estate_dir) -> None:
    from netslo.config.estate_file import load_estate

    listen = [f"--listen={s.addresses[0]}" for s in load_estate(estate_dir).sites.values()]
    start("reflect", *listen).wait_for("listening|reflecting|answering")


def kept(estate_dir) -> list[PathWindow]:
    store = SqliteStore.open(estate_dir / "netslo-data" / "store.sqlite", readonly=True)
    try:
        now_s = int(time.time())
        return list(store.windows(Selector(), now_s - 600, now_s + 60))
    finally:
        store.close()


def latest_s(estate_dir) -> int:
    """Return when the last kept window begins."""
    return max((window.window.start_s for window in kept(estate_dir)), default=0)


def test_a_collector_killed_for_20_s_loses_no_window_and_counts_none_twice(start, estate_dir):
    start_reflectors(start, estate_dir)
    collector, address = start_collector(start, estate_dir, f"127.0.0.1:{free_port()}")
    starting_s = time.time()
    probe = start_probe(start, estate_dir, address)
    began_s = time.time()  # or a little before: until its line is read, time passes
    wait_until(lambda: kept(estate_dir), "a window has been delivered", 120)
    collector.kill()
    time.sleep(20)
    collector, _ = start_collector(start, estate_dir, address)
    back_s = time.time()
    wait_until(lambda: latest_s(estate_dir) >= back_s - 20, "the spool has been delivered", 120)
    stopping_s = time.time()
    assert probe.stop() == 0
    stopped_s = time.time()
    assert collector.stop() == 0

    windows = kept(estate_dir)
    for path in {window.key.path for window in windows}:
        mine = [window for window in windows if window.key.path == path]
        starts = [window.window.start_s for window in mine]
        assert starts == list(range(starts[0], starts[-1] + 10, 10)), "a window is missing"
        # A second of slack: the first packet may fall due just behind a boundary.
        assert starting_s < starts[0] + 10
        assert starts[0] - 1 <= began_s
        assert starts[-1] <= stopped_s
        assert stopping_s < starts[-1] + 11
        for window in mine[1:-1]:
            assert window.packets.due == 200, "20 packets/s for 10 s, neither lost nor doubled"
            assert sum(s.count for k, s in window.sketches.items() if k.metric.endswith("rtt")) == (
                window.packets.answered
            )
        due = sum(window.packets.due for window in mine)
        assert (stopping_s - began_s) * 20 - 30 <= due <= (stopped_s - starting_s) * 20 + 30
        answered = sum(window.packets.answered for window in mine)
        assert answered >= 0.5 * due  # a busy machine answers late
        events = sum(w.slo["latency"].events + w.slo["latency"].unmeasured for w in mine)
        assert events == due


def test_a_killed_probe_loses_no_more_than_its_open_windows(start, estate_dir) -> None:
    start_reflectors(start, estate_dir)
    collector, address = start_collector(start, estate_dir, "127.0.0.1:0")
    probe = start_probe(start, estate_dir, address)
    # One window has come and another is open.
    wait_until(lambda: latest_s(estate_dir) > 0 and 3 < time.time() % 10 < 7, "a window", 120)
    delivered_s = latest_s(estate_dir)
    probe.kill()
    killed_s = time.time()
    second = start_probe(start, estate_dir, address)
    second_s = time.time()
    wait_until(lambda: latest_s(estate_dir) > second_s, "a window of the second", 120)
    assert second.stop() == 0
    assert collector.stop() == 0
    windows = kept(estate_dir)
    for path in {window.key.path for window in windows}:
        mine = {w.window.start_s: w for w in windows if w.key.path == path}
        hit = int(killed_s) // 10 * 10
        of_first = range(min(mine), delivered_s + 10, 10)
        of_second = range(-(-int(second_s) // 10) * 10, max(mine) + 10, 10)
        assert {*of_first, *of_second} <= set(mine)
        if hit in mine:  # the second was there soon
            assert 0 < mine[hit].packets.due < 200  # what the first probe had open is gone
        assert mine[delivered_s].packets.due > 0


def test_the_collector_answers_people_and_prometheus(start, estate_dir) -> None:
    collector, address = start_collector(start, estate_dir, "127.0.0.1:0")
    for path in ("/healthz", "/metrics", "/api/v1/paths", "/api/v1/slos"):
        with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as answer:
            assert answer.status == 200
    assert collector.stop() == 0
