"""The probe beside the tools people use, on one veth pair, in one run: noise, schedule, rate, CPU.

Needs root, iproute2, fping, irtt and prometheus-smokeping-prober (Debian packages); a peer that is
not there is left out, and said. Two processes of netslo, prober and reflector, run from the
command line as a user would run them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from lab.namespaces import End, Namespace, veth

NETSLO = (sys.executable, "-P", "-m", "netslo")
PORT = 8620
QS = (0.5, 0.99, 0.999)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Outcome:
    """What a tool said in one run."""

    rtt_us: tuple[float, ...]  # at QS
    asked: int
    sent: int
    answered: int
    cpu_us: float  # of the prober, by packet
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    a: End
    b: End
    reflector: str


def quantiles_us(values_s: np.ndarray) -> tuple[float, ...]:
    return tuple((np.quantile(values_s, QS, method="lower") * 1e6).tolist())


@contextlib.contextmanager
def used_cpu() -> Iterator[list[float]]:
    """Yield a list that has, afterwards, what the children took, in seconds."""
    before, found = resource.getrusage(resource.RUSAGE_CHILDREN), [0.0]
    yield found
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found[0] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of(process: subprocess.Popen[str]) -> float:
    text = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    fields = text.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measured(
    pair: Pair, where: Iterable[str], rate: int, seconds: float, key_file: str | None = None
) -> tuple[dict[str, Any], float]:
    """Run netslo against targets, `rate` packets a second each; return its JSON, and CPU seconds.

    The CPU time is that of the run without what one start of netslo takes.
    """
    flags = ["--interval", f"{1000 / rate:g}ms", "--count", str(round(rate * seconds)), "--json"]
    if key_file is not None:
        flags += ["--key-file", key_file]
    command = [*NETSLO, "measure", "rtt", *where, *flags, "--no-floor", "--flood"]
    with used_cpu() as cpu_s:
        done = pair.a.namespace.run(*command, timeout_s=seconds + 120, check=False)
    return json.loads(done.stdout), cpu_s[0] - start_cpu_s()


def netslo(pair: Pair, rate: int, seconds: float, key_file: str | None = None) -> Outcome:
    packets = round(rate * seconds)
    shape, cpu_s = measured(pair, [f"{pair.b.address4}:{PORT}"], rate, seconds, key_file)
    late = shape["send_lateness"]
    return Outcome(
        tuple(shape["rtt"]["quantiles"][f"{q:g}"]["value"] * 1e6 for q in QS),
        packets,
        shape["answered"] + shape["lost"],
        shape["answered"],
        cpu_s / packets * 1e6,
        {
            "class A": shape["quality"]["A"] / max(1, shape["answered"]),
            "late > 1 ms": shape["late"] / packets,
            "lateness p99 us": late["quantiles"]["0.99"]["value"] * 1e6,
        },
    )


def start_cpu_s() -> float:
    """Return what one start of netslo takes, of which a long run of the prober has one too."""
    if "s" not in _START:
        with used_cpu() as found:
            command = [*NETSLO, "measure", "rtt", "127.0.0.1:1", "--count", "1", "--no-floor"]
            subprocess.run([*command, "--timeout", "10ms"], capture_output=True, check=False)
        _START["s"] = found[0]
    return _START["s"]


_START: dict[str, float] = {}


def fping(pair: Pair, rate: int, seconds: float) -> Outcome:
    packets = round(rate * seconds)
    gap = f"{1000 / rate:g}"
    command = ("fping", "-q", "-C", str(packets), "-p", gap, "-i", gap, "-t", "500", "-r", "0")
    began = time.monotonic()
    with used_cpu() as cpu_s:
        done = pair.a.namespace.run(
            *command, pair.b.address4, timeout_s=20 * seconds + 60, check=False
        )
    took = time.monotonic() - began
    values = done.stderr.rpartition(":")[2].split()
    rtt_s = np.array([float(value) / 1e3 for value in values if value != "-"])
    return Outcome(
        quantiles_us(rtt_s),
        packets,
        packets,
        len(rtt_s),
        cpu_s[0] / packets * 1e6,
        {"took s": took},
    )


def irtt(pair: Pair, rate: int, seconds: float) -> Outcome:
    packets = round(rate * seconds)
    server = pair.b.namespace.popen(
        "irtt", "server", "-i", "0", "-d", "0", "-l", "0", stdout=-3, stderr=-3
    )
    time.sleep(0.5)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/irtt.json"
        interval, duration = f"{1e6 / rate:g}us", f"{seconds:g}s"
        with used_cpu() as cpu_s:
            pair.a.namespace.run(
                *("irtt", "client", "-i", interval, "-d", duration, "-l", "44", "-q", "-o", file),
                pair.b.address4,
                timeout_s=seconds + 60,
            )
        found = json.loads(pathlib.Path(file).read_text())
    server.terminate()
    server.wait()
    delays = [trip.get("delay") or {} for trip in found["round_trips"]]
    rtt_s = np.array([delay["rtt"] / 1e9 for delay in delays if "rtt" in delay])
    sent = found["stats"]["packets_sent"]
    return Outcome(quantiles_us(rtt_s), packets, sent, len(rtt_s), cpu_s[0] / sent * 1e6)


def smokeping(pair: Pair, rate: int, seconds: float) -> Outcome:
    buckets = ",".join(f"{edge:.4g}" for edge in np.geomspace(2e-6, 0.5, 180))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "config.yml")
        file.write_text("targets: []\n")
        process = pair.a.namespace.popen(
            *("prometheus-smokeping-prober", f"--config.file={file}", "-i", f"{1000 / rate:g}ms"),
            *("--privileged", f"--buckets={buckets}", pair.b.address4),
            stdout=-3,
            stderr=-3,
        )
        time.sleep(2)
        first, cpu_s = scraped(pair.a), cpu_of(process)
        time.sleep(seconds)
        last, cpu_s = scraped(pair.a), cpu_of(process) - cpu_s
        process.terminate()
        process.wait()
    counts = last[0][:, 1] - first[0][:, 1]
    ranks = [np.searchsorted(counts, q * counts[-1]) for q in QS]
    sent = int(last[1] - first[1])
    rtt_us = tuple(float(last[0][rank, 0] * 1e6) for rank in ranks)
    return Outcome(rtt_us, round(rate * seconds), sent, int(counts[-1]), cpu_s / sent * 1e6)


def scraped(end: End) -> tuple[np.ndarray, float]:
    """Return a scrape's buckets, edges in seconds and counts, and the requests sent."""
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9374/metrics').read()"
    text = end.namespace.run(sys.executable, "-c", code + ".decode())").stdout
    pairs = re.findall(r'duration_seconds_bucket\{.*?le="([^"]+)"\} (\S+)', text)
    requests = re.search(r"smokeping_requests_total\{.*?\} (\S+)", text)
    return np.array([(float(le), float(n)) for le, n in pairs]), float(requests[1])


TOOLS: dict[str, tuple[str | None, Callable[[Pair, int, float], Outcome]]] = {
    "netslo": (None, netslo),
    "fping": ("fping", fping),
    "irtt": ("irtt", irtt),
    "smokeping_prober": ("prometheus-smokeping-prober", smokeping),
}


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy by a loop pinned to it."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    loops = [
        subprocess.Popen([sys.executable, "-c", code, str(core)])
        for core in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


SLEEPER = """
import os, sys, time
packets, gap_ns, start_ns, late = int(sys.argv[1]), int(sys.argv[2]), time.monotonic_ns(), 0
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
except OSError:
    pass
for k in range(packets):
    due_ns = start_ns + 10_000_000 + k * gap_ns
    time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
    late += time.monotonic_ns() - due_ns > 1_000_000
print(late / packets)
"""


def sleeper(rate: int, seconds: float) -> float:
    """Return how often a thread of the prober's priority that only sleeps is 1 ms late here.

    That is what this machine takes: no schedule in user space can keep better time.
    """
    arguments = [str(round(rate * seconds)), str(round(1e9 / rate))]
    command = [sys.executable, "-c", SLEEPER, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def joined(targets: int = 1, key_file: str | None = None) -> Iterator[Pair]:
    """Make the pair, with a reflector in b that answers at so many addresses."""
    sealed = () if key_file is None else ("--key-file", key_file)
    with Namespace("a") as a, Namespace("b") as b:
        ends = veth(a, b, subnet4="10.77.0.0/16")
        for number in range(1, targets):
            address = f"10.77.{1 + number // 200}.{1 + number % 200}/16"
            b.ip("addr", "add", address, "dev", ends.b.device)
        reflector = b.popen(
            *NETSLO,
            *("reflect", "--listen", f"0.0.0.0:{PORT}", "--rate", "1000000", *sealed),
            stdout=subprocess.PIPE,
        )
        assert reflector.stdout is not None
        reflector.stdout.readline()
        a.run("ping", "-c1", ends.b.address4, check=False)
        yield Pair(ends.a, ends.b, str(reflector.pid))


def median(outcomes: list[Outcome]) -> Outcome:
    """Return the medians of several runs."""
    return Outcome(
        tuple(statistics.median(each.rtt_us[place] for each in outcomes) for place in range(3)),
        sum(each.asked for each in outcomes),
        sum(each.sent for each in outcomes),
        sum(each.answered for each in outcomes),
        statistics.median(each.cpu_us for each in outcomes),
        {
            name: statistics.median(each.more[name] for each in outcomes)
            for name in outcomes[0].more
        },
    )


def show(name: str, outcome: Outcome) -> None:
    rtt = "".join(f"{value:11.1f}" for value in outcome.rtt_us)
    more = ", ".join(f"{name} {value:.4g}" for name, value in outcome.more.items())
    sent = f"{outcome.sent / outcome.asked:9.2%}"
    lost = outcome.sent - outcome.answered
    print(f"  {name:18}{rtt}{sent}{lost:7}{outcome.cpu_us:9.1f}   {more}")


def compare_noise(seconds: float, rounds: int) -> dict[str, dict[str, Outcome]]:
    """Print and return what each tool says of 1,000 packets a second, idle and busy."""
    here = {name: run for name, (needs, run) in TOOLS.items() if not needs or shutil.which(needs)}
    for name in TOOLS.keys() - here.keys():
        print(f"{name} is not installed: left out")
    found: dict[str, dict[str, Outcome]] = {}
    for load, around in (("idle", contextlib.nullcontext), ("busy", busy_cores)):
        runs: dict[str, list[Outcome]] = {name: [] for name in here}
        alone: list[float] = []
        for _ in range(rounds):
            with around():
                alone.append(sleeper(1000, seconds))
            for name, run in here.items():
                with joined() as pair, around():
                    runs[name].append(run(pair, 1000, seconds))
        found[load] = {name: median(outcomes) for name, outcomes in runs.items()}
        print(f"\n1,000 packets/s, cores {load}: {rounds} x {seconds:g} s each, interleaved")
        head = "  tool                 p50 us     p99 us   p99.9 us     sent   lost   CPU us"
        print(head)
        for name, outcome in found[load].items():
            show(name, outcome)
        late = f"late > 1 ms {statistics.median(alone):.4g} ({min(alone):.4g} to {max(alone):.4g})"
        print(f"  a thread of that priority that only sleeps, between them: {late}")
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """A goal beside what was measured."""

    claim: str
    value: float
    goal: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def __str__(self) -> str:
        sign, verdict = "<=" if self.at_most else ">=", "met" if self.met else "MISSED"
        return f"  {self.claim:64}{self.value:10.4g}   {sign} {self.goal:<6g} {verdict}"


def judge_noise(found: dict[str, dict[str, Outcome]]) -> Iterator[Row]:
    """Return the goals at 1,000 packets/s, as far as the peers are there."""
    idle, busy = found["idle"], found["busy"]
    ours = busy["netslo"]
    if "fping" in busy:
        for place, name in ((1, "P99"), (2, "P99.9")):
            against = busy["fping"].rtt_us[place] / ours.rtt_us[place]
            yield Row(f"RTT {name} busy, fping's by ours", against, 10)
        for place, name in enumerate(("P50", "P99", "P99.9")):
            against = idle["fping"].rtt_us[place] / idle["netslo"].rtt_us[place]
            yield Row(f"RTT {name} idle, fping's by ours", against, 1)
    if "irtt" in busy:
        yield Row("RTT P99 busy, irtt's by ours", busy["irtt"].rtt_us[1] / ours.rtt_us[1], 500)
    change = ours.rtt_us[1] / idle["netslo"].rtt_us[1]
    yield Row("RTT P99, busy by idle", change, 2, at_most=True)
    yield Row("due packets sent, busy", ours.sent / ours.asked, 1)
    yield Row("of these within 1 ms, busy", 1 - ours.more["late > 1 ms"], 0.999)


def compare_rates(seconds: float) -> Iterator[Row]:
    """Print how netslo does at high rates; return the goals there."""
    print("\nmany packets to one target, four kernel stamps")
    print("  rate                 p50 us     p99 us   p99.9 us     sent   lost   CPU us")
    for rate in (10_000, 20_000, 50_000):
        with joined() as pair:
            found = netslo(pair, rate, seconds)
            show(f"{rate:,}/s", found)
    yield Row("packets sent of 50,000/s", found.sent / found.asked, 1)
    yield Row("of these answered", found.answered / found.sent, 1)
    # Of the last replies nobody tells when they left, for no reply follows them.
    yield Row("of these with four kernel stamps", found.more["class A"], 0.999)


def compare_cpu(seconds: float, rounds: int) -> Iterator[Row]:
    """Print the CPU time of a packet at 10,000/s over 100 targets; return the goal."""
    ours_us, fping_us, lost = [], [], 0
    addresses = [f"10.77.{1 + number // 200}.{1 + number % 200}" for number in range(1, 100)]
    packets = round(100 * seconds)
    for _ in range(rounds):
        with joined(100) as pair:
            targets = [pair.b.address4, *addresses]
            where = [f"{target}:{PORT}" for target in targets]
            shape, cpu_s = measured(pair, where, 100, seconds)
            ours_us.append(cpu_s / packets / 100 * 1e6)
            lost += sum(each["lost"] + each["unmeasured"] for each in shape["targets"])
            if shutil.which("fping"):
                flags = ("-q", "-C", str(packets), "-p", "10", "-i", "0.1", "-t", "500", "-r", "0")
                with used_cpu() as spent_s:
                    pair.a.namespace.run("fping", *flags, *targets, timeout_s=120, check=False)
                fping_us.append(spent_s[0] / packets / 100 * 1e6)
    ours = statistics.median(ours_us)
    print(f"\n10,000 packets/s over 100 targets, {rounds} x {seconds:g} s, CPU of the prober")
    print(f"  netslo {ours:.1f} us a packet; {lost} of {rounds * packets * 100} not answered")
    if fping_us:
        theirs = statistics.median(fping_us)
        print(f"  fping  {theirs:.1f} us a packet")
        yield Row(
            "CPU a packet at 10,000/s over 100 targets, ours by fping's",
            ours / theirs,
            1,
            at_most=True,
        )


def compare_seals(seconds: float, rounds: int) -> Iterator[Row]:
    """Print what authentication costs at 10,000/s; return the goal."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("0f" * 32)
        file.flush()
        taken: dict[str | None, list[float]] = {None: [], file.name: []}
        for _, key_file in itertools.product(range(rounds), taken):
            with joined(key_file=key_file) as pair:
                taken[key_file].append(netslo(pair, 10_000, seconds, key_file).cpu_us)
        plain, sealed = (statistics.median(each) for each in taken.values())
    print(f"\n10,000 packets/s to one target, {rounds} x {seconds:g} s, CPU of the prober")
    print(f"  unauthenticated {plain:.1f} us a packet, authenticated {sealed:.1f} us")
    yield Row("CPU a packet, authenticated by unauthenticated", sealed / plain, 1.3, at_most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("noise", "rates", "cpu", "seals"))
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file too")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this makes network namespaces and needs root")
    seconds, rounds = chosen.seconds, chosen.rounds
    noise: dict[str, dict[str, Outcome]] = {}
    rows: list[Row] = []
    if chosen.only in (None, "noise"):
        noise = compare_noise(seconds, rounds)
        rows += judge_noise(noise)
    if chosen.only in (None, "rates"):
        rows += compare_rates(seconds)
    if chosen.only in (None, "cpu"):
        rows += compare_cpu(seconds, rounds)
    if chosen.only in (None, "seals"):
        rows += compare_seals(seconds, rounds)
    print("\ngoals")
    for row in rows:
        print(row)
    if chosen.json:
        tools = {
            load: {name: asdict(outcome) for name, outcome in outcomes.items()}
            for load, outcomes in noise.items()
        }
        goals = [asdict(row) | {"met": row.met} for row in rows]
        shape = {"quantiles": QS, "rate_1000": tools, "goals": goals}
        chosen.json.write_text(json.dumps(shape, indent=2) + "\n")


if __name__ == "__main__":
    main()
