"""Routes and capacity from the door to the API and /metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from a_collector import NOW_S, collector, make_estate
from prometheus_client.parser import text_string_to_metric_families as parse_text
from some_routes import (
    MPLS,
    A,
    B,
    C,
    make_change,
    make_loaded,
    make_reading,
    make_seen,
    request_of,
)
from some_windows import PATHS, T0, make_window

from analytics import _kernels
from analytics.collector.paths import CapacityCollector
from netslo.estate import Link
from netslo.model import Path

OFF_ESTATE = Path("london", "paris", "ef")


@pytest.fixture
async def room(tmp_path):
    async with collector(tmp_path / "store.sqlite") as room:
        yield room


@pytest.fixture(params=[True, False], ids=["fast way", "careful way"])
def either_way(request, monkeypatch) -> None:
    if request.param and not _kernels.load():
        pytest.skip("numba is not installed")
    if not request.param:
        monkeypatch.setattr(_kernels, "loaded", lambda: False)


async def samples(room) -> dict:
    text = await room.text("/metrics")
    found = {}
    for family in parse_text(text):
        for sample in family.samples:
            if sample.name.startswith("network_path"):
                labels = dict(sample.labels)
                assert labels.pop("src_site") == "london"
                assert labels.pop("scope") == "national"
                del labels["dst_site"], labels["class"]
                found[sample.name, *sorted(labels.items())] = sample.value
    return found


async def test_a_change_is_told_with_before_and_after(room, either_way) -> None:
    change = make_change(T0 + 1.25, before=(A, "*"), hops=(MPLS, C), reached=False, flow=3)
    answer = await room.post(request_of(change, windows=[make_window()]))
    assert answer.refused_points == 0
    assert (await room.post(request_of(change, windows=[make_window()]))).refused_points == 0
    status, told = await room.get("/api/v1/path_changes", path=PATHS[0].id)
    assert status == 200
    mpls = {
        "address": "10.0.3.1",
        "labels": [{"label": 16001, "tc": 0, "bottom": True, "ttl": 1}],
    }
    assert told == {
        "path_changes": [
            {
                "time": T0 + 1.25,
                "path": "london:leeds/ef",
                "flow": 3,
                "protocol": "udp",
                "before": {
                    "seen": T0 - 58.75,
                    "fingerprint": change.previous.fingerprint,
                    "hops": [{"address": A, "labels": []}, {"address": None, "labels": []}],
                    "reached": True,
                },
                "after": {
                    "fingerprint": change.route.fingerprint,
                    "hops": [mpls, {"address": C, "labels": []}],
                    "reached": False,
                    "path_mtu": 1500,
                },
            }
        ]
    }
    assert sum(w.packets.answered for w in room.stored().values()) == 3
    _, routes = await room.get("/api/v1/routes", path=PATHS[0].id)
    (route,) = routes["routes"]
    assert route["hops"] == [mpls, {"address": C, "labels": []}]
    assert (route["seen"], route["stale"], route["path_mtu"]) == (T0 + 1.25, False, 1500)
    assert (await room.get("/api/v1/routes", path=PATHS[2].id))[1] == {"routes": []}


async def test_bandwidth_is_told_newest_first(room) -> None:
    points = [make_reading(T0 + k, 1e6 * k, direction="reverse", method="tcp") for k in range(3)]
    await room.post(request_of(*points, make_loaded()))
    _, told = await room.get("/api/v1/bandwidth", path=PATHS[0].id, limit="2", end=str(T0 + 2.5))
    assert told["bandwidth"] == [
        {
            "time": T0 + k,
            "path": "london:leeds/ef",
            "direction": "reverse",
            "method": "tcp",
            "bits_per_second": 1e6 * k,
        }
        for k in (2.0, 1.0)
    ]


@pytest.mark.parametrize("name", ["path_changes", "bandwidth"])
@pytest.mark.parametrize(
    ("params", "status", "reason"),
    [
        ({"path": "london"}, 400, "path 'london' is not of the form src:dst/class"),
        ({"path": "london:paris/ef"}, 404, "no path of the estate is 'london:paris/ef'"),
        ({"limit": "0"}, 400, "limit=0 is not a whole number from 1 to 1000"),
        ({"limit": "1e3"}, 400, "limit=1e3 is not a whole number from 1 to 1000"),
        ({"limit": "9" * 5000}, 400, "is not a whole number from 1 to 1000"),
        ({"start": "yesterday"}, 400, "start=yesterday is neither Unix seconds nor RFC 3339"),
        ({"end": "nan"}, 400, "end=nan is neither"),
        ({"start": "5", "end": "5"}, 400, "start does not lie before end"),
        ({"form": "5"}, 400, "unknown parameter 'form'; known are path, start, end, limit"),
    ],
)
async def test_a_wrong_query_gets_a_sentence(room, name, params, status, reason) -> None:
    got, told = await room.get(f"/api/v1/{name}", **params)
    assert got == status
    assert reason in told["error"]


async def test_routes_take_a_path_alone(room) -> None:
    assert (await room.get("/api/v1/routes", path="x"))[0] == 400
    assert (await room.get("/api/v1/routes", limit="3"))[0] == 400
    assert (await room.get("/api/v1/routes"))[1] == {"routes": []}


@pytest.mark.parametrize(
    ("point", "site", "reason"),
    [
        (make_change(path=OFF_ESTATE), "london", "the path is not of this estate"),
        (make_change(path=PATHS[2]), "london", "src_site is not the site of the probe"),
        (make_change(), "paris", "netslo.site is no site of this estate"),
        (make_reading(NOW_S + 301), "london", "in the future; check the probe's clock"),
        (make_reading(NOW_S - 36 * 86_400), "london", "older than the retention"),
    ],
)
async def test_what_is_not_the_probes_to_say_is_refused(
    room, either_way, point, site, reason
) -> None:
    answer = await room.post(request_of(point, make_seen(), site=site))
    assert answer.refused_points == (2 if site == "paris" else 1)
    assert reason in answer.accepted.partial_success.error_message
    assert len(room.reader.routes()) == (site != "paris")
    assert room.reader.path_change_totals() == ({PATHS[0]: 0} if site != "paris" else {})


async def test_a_malformed_point_leaves_the_rest(room, either_way) -> None:
    def spoil(data) -> None:
        if data.WhichOneof("value") == "as_double":
            data.as_double = -1.0

    body = request_of(make_seen(), make_reading(), windows=[make_window()], edit=spoil)
    answer = await room.post(body)
    assert answer.refused_points == 1
    assert "network.path.bandwidth is negative" in answer.accepted.partial_success.error_message
    assert len(room.reader.routes()) == 1
    assert sum(w.packets.answered for w in room.stored().values()) == 3


async def test_metrics_of_routes_and_capacity(room) -> None:
    await room.post(
        request_of(
            make_seen(T0, hops=(A, B, C), flow=0, path_mtu=1500),
            make_change(T0, hops=(A, C), flow=1, path_mtu=1400),
            make_seen(T0, path=PATHS[1], path_mtu=None),
            make_reading(T0, 5e7, direction="reverse"),
            make_loaded(T0, 0.04),
        ),
    )
    trace, test = ("probe", "trace"), ("probe", "bandwidth")
    path, other = ("path", PATHS[0].id), ("path", PATHS[1].id)
    found = await samples(room)
    assert found == {
        ("network_path_hops", ("flow", "0"), path, trace, ("protocol", "udp")): 3.0,
        ("network_path_hops", ("flow", "1"), path, trace, ("protocol", "udp")): 2.0,
        ("network_path_hops", ("flow", "0"), other, trace, ("protocol", "udp")): 2.0,
        ("network_path_mtu_bytes", path, trace): 1400.0,
        ("network_path_changes_total", path, trace): 1.0,
        ("network_path_changes_total", other, trace): 0.0,
        (
            "network_path_bandwidth_bits_per_second",
            ("direction", "reverse"),
            ("method", "train"),
            path,
            test,
        ): 5e7,
        (
            "network_path_loaded_rtt_seconds",
            ("direction", "forward"),
            ("method", "train"),
            path,
            test,
            ("quantile", "0.99"),
            ("state", "loaded"),
        ): 0.04,
    }


async def test_gauges_go_when_stale_and_the_count_stays(tmp_path) -> None:
    now_s, file = [NOW_S], tmp_path / "store.sqlite"

    def names(store) -> set[str]:
        families = CapacityCollector(store, make_estate(), lambda: now_s[0]).collect()
        return {family.name.removeprefix("network_path_") for family in families if family.samples}

    async with collector(file, clock=lambda: now_s[0]) as room:
        await room.post(request_of(make_change(), make_reading()))
        everything = {"hops", "mtu_bytes", "changes", "bandwidth_bits_per_second"}
        assert names(room.reader) == everything
        now_s[0] = T0 + 899.0
        assert names(room.reader) == everything
        now_s[0] = T0 + 901.0
        assert names(room.reader) == {"changes", "bandwidth_bits_per_second"}
        now_s[0] = T0 + 3 * 3600 + 1.0
        assert names(room.reader) == {"changes"}
        _, routes = await room.get("/api/v1/routes")
        assert [route["stale"] for route in routes["routes"]] == [True]
    async with collector(file, clock=lambda: now_s[0]) as room:  # and through a restart
        assert list((await samples(room)).values()) == [1.0]


async def test_what_the_link_carries_stands_beside_what_was_measured(tmp_path) -> None:
    estate = replace(make_estate(), links=(Link("leeds", "london", 1e9, 0.0),))
    async with collector(tmp_path / "store.sqlite", estate=estate) as room:
        await room.post(request_of(make_reading(), make_reading(path=PATHS[1])))
        await room.post(request_of(make_reading(path=PATHS[2]), site="leeds", sequence=1))
        text = await room.text("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("network_path_link_capacity")]
    assert [line.rpartition(" ")[2] for line in lines] == ["1e+09", "1e+09"]
    assert ['path="london:leeds/be"' in line for line in lines] == [True, False]
