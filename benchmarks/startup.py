"""How long `netslo --help` takes, beside Python's own start: the median of 20, interleaved."""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "netslo --help": [sys.executable, "-P", "-m", "netslo", "--help"],
    "netslo estate check": [
        *(sys.executable, "-P", "-m", "netslo"),
        "estate",
        "check",
        "-c",
        "examples/uk",
    ],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(20):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    floor = statistics.median(times["python -c pass"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:22} {median * 1000:6.0f} ms  {median / floor:5.1f} x python")


if __name__ == "__main__":
    main()
