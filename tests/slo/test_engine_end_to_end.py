"""A site dies and comes back with its spool: the engine, a real Alertmanager, a web hook.

The clock is passed in, so that an hour of it takes seconds. Alertmanager has a clock of its own: it
is told that what begins or ends does so now, and its waits are sixty times shorter than in truth.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from a_collector import make_estate
from a_house import OBJECTIVE, T0, House, house
from real_prometheus import alertmanager, run, wait_until

from netslo.app.webhook import Webhook
from slo.engine import alertmanager as told_by
from slo.engine.alertmanager import Alertmanagers
from slo.engine.book import Labels
from slo.policy import AlertPolicy
from slo.rules.alertmanager import Receivers, Waits, configuration
from slo.rules.yaml_text import to_yaml

MINUTE = 60
HISTORY, OUTAGE, AFTER = 60 * MINUTE, 20 * MINUTE, 20 * MINUTE
DEAD = "leeds"
WAITS = Waits(path_s=120.0, site_s=10.0, group_s=60.0, scale=60)
PATHS = make_estate().paths
FROM_IT = [path for path in PATHS if path.src == DEAD]
TO_IT = [path for path in PATHS if path.dst == DEAD]
OTHERS = [path for path in PATHS if DEAD not in (path.src, path.dst)]


def told(hook: Webhook, status: str) -> list[tuple[str, str]]:
    """Return (name, far site) of what somebody was woken by, or told the end of, in order."""
    list(hook.news())
    return [
        (each["labels"]["alertname"], each["labels"].get("dst_site", ""))
        for each in hook.told
        if each["receiver"] != "escalation" and each["status"] == status
    ]


async def test_a_dead_site_is_one_page_and_its_spool_is_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(told_by, "_TIMEOUT_S", 60.0)  # a busy machine takes longer to take it
    monkeypatch.setattr(told_by, "_TELLING_S", 60.0)
    objective = replace(OBJECTIVE, alerts=AlertPolicy(pairs=OBJECTIVE.alerts.pairs[:2]))
    began_s = T0
    died_s, back_s = began_s + HISTORY, began_s + HISTORY + OUTAGE
    with Webhook() as hook:
        names = [receiver["name"] for receiver in configuration([objective])["receivers"]]
        made = configuration([objective], Receivers(dict.fromkeys(names, hook.url)), WAITS)
        file = tmp_path / "alertmanager.yml"
        file.write_text(to_yaml(made, "test"))
        assert run("amtool", "check-config", file).returncode == 0
        with alertmanager(tmp_path, file) as manager:
            teller = Teller(manager.url)
            async with house(tmp_path, began_s, objective) as it:
                await it.deliver(began_s, 0.0, *PATHS, windows=HISTORY // 10)
                await teller.look(it, died_s)
                assert hook_has(manager) == {"SLOWatchdog"}

                # Nobody gets an answer from it, and its probe reaches nobody.
                for at_s in range(died_s, back_s, MINUTE):
                    await it.deliver(at_s, 1.0, *TO_IT, windows=6)
                    await it.deliver(at_s, 0.0, *OTHERS, windows=6)
                    await teller.look(it, at_s + MINUTE)
                wait_until(lambda: told(hook, "firing"), "the page")
                assert hook_has(manager) == {
                    "SLOWatchdog", "SLOBurnPage", "SLOSiteBurnPage", "SLOProbeDown",
                    "SLOCoverageLow",
                }  # fmt: skip
                wait_a_while()
                assert told(hook, "firing") == [("SLOSiteBurnPage", DEAD)]

                # It is back: what it measured meanwhile was lost, all of it until now.
                await it.deliver(died_s, 1.0, *FROM_IT, windows=OUTAGE // 10, late=True)
                for at_s in range(back_s, back_s + AFTER, MINUTE):
                    await it.deliver(at_s, 0.0, *PATHS, windows=6)
                    await teller.look(it, at_s + MINUTE)
                wait_until(lambda: told(hook, "resolved"), "the end")
                wait_until(lambda: hook_has(manager) == {"SLOWatchdog"}, "all is over")
                wait_a_while()
                assert told(hook, "firing") == [("SLOSiteBurnPage", DEAD)]
                assert told(hook, "resolved") == [("SLOSiteBurnPage", DEAD)]
                for path in (*TO_IT, *FROM_IT):
                    spend = it.spent(path, HISTORY)
                    assert spend.bad == OUTAGE * 5  # packets a second
                    assert spend.events == HISTORY * 5


@dataclass
class Teller:
    """Tells Alertmanager what an engine sees."""

    url: str
    began_s: dict[Labels, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.alertmanagers = Alertmanagers([self.url])

    async def look(self, it: House, at_s: float) -> None:
        it.now_s = at_s
        changes, now_s = it.engine.look(), time.time()
        began_s = {a.labels: self.began_s.get(a.labels, now_s) for a in it.engine._book.firing}
        firing = [replace(a, starts_s=began_s[a.labels]) for a in it.engine._book.firing]
        ended = [replace(a, starts_s=self.began_s[a.labels], ends_s=now_s) for a in changes.ended]
        self.began_s = began_s
        await self.alertmanagers.tell(firing, ended, now_s)


def hook_has(manager) -> set[str]:
    return {each["labels"]["alertname"] for each in manager.get("/api/v2/alerts")}


def wait_a_while() -> None:
    """Wait for longer than any group does, or Alertmanager takes to see what silences what."""
    began_s = time.monotonic()
    wait_until(lambda: time.monotonic() > began_s + 4, "whatever else might be told")
