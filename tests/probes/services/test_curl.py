"""Phases of HTTP against curl's own timings, turn by turn on the same server."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from some_services import asked

from netslo.service import HttpRequest, Phase, parse_url

CURL = shutil.which("curl")
ROUNDS, BLOCKS, TIMES = 6, 3, 5
PHASES = (Phase.DNS, Phase.CONNECT, Phase.TLS, Phase.FIRST_BYTE, Phase.TRANSFER)
_WRITE = (
    "[%{time_namelookup}, %{time_connect}, %{time_appconnect}, %{time_starttransfer}, "
    "%{time_total}]\n"
)


@pytest.fixture
def server(authority, tmp_path):
    certificate = tmp_path / "server.pem"
    issued = authority.issue_cert("127.0.0.1", socket.gethostname())
    certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    program = Path(__file__).parents[2] / "support" / "a_web_server.py"
    process = subprocess.Popen(
        [sys.executable, str(program), str(certificate)], stdout=subprocess.PIPE, text=True
    )
    with process:
        yield int(process.stdout.readline())
        process.terminate()


def by_curl(url: str, authorities: Path) -> NDArray[np.float64]:
    """Return how long each phase took, and the whole, seconds, a row for each request.

    One process makes all of them, each on a connection of its own, and none resumes TLS; of the
    first, which sets TLS up in curl, nothing is taken.
    """
    said = subprocess.run(
        [CURL, "-4", "-s", "--http1.1", "--noproxy", "*", "--no-sessionid", "-o", "/dev/null",
         "--cacert", str(authorities), "-w", _WRITE, url],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    times = np.array([json.loads(line) for line in said.stdout.splitlines()])
    phases = np.diff(times, axis=1, prepend=0.0)
    return np.column_stack([phases, times[:, -1]])


async def by_us(url: str, pem: str) -> list[float]:
    found = await asked(HttpRequest(parse_url(url), ip=4), timeout_s=30, pem=pem)
    assert found.good, found
    return [*(found.spans_ns[phase] / 1e9 for phase in PHASES), found.total_ns / 1e9]


@pytest.mark.quiet
@pytest.mark.skipif(CURL is None, reason="curl is not installed")
async def test_phases_are_those_of_curl(server, authority, pem, tmp_path) -> None:
    """Medians agree within 5 % and 0.5 ms.

    What else the host does only ever adds to a difference, so that one quiet round decides.
    """
    url, authorities = f"https://127.0.0.1:{server}/", tmp_path / "ca.pem"
    authorities.write_bytes(authority.cert_pem.bytes())
    await by_us(url, pem)
    differences = []
    for _ in range(ROUNDS):
        curls, ours = [], []
        for _ in range(BLOCKS):  # turn by turn, so that both see the same host
            found = await asyncio.to_thread(by_curl, f"{url}[0-{TIMES}]", authorities)
            curls += found[1:].tolist()
            ours += [await by_us(url, pem) for _ in range(TIMES)]
        theirs = np.median(curls, axis=0)
        difference = np.median(ours, axis=0) - theirs
        differences.append(difference)
        if (np.abs(difference) <= 0.05 * theirs + 0.0005).all():
            return
    pytest.fail(f"differences by phase, seconds: {differences}")


@pytest.mark.quiet
@pytest.mark.skipif(CURL is None, reason="curl is not installed")
async def test_names_take_as_long_as_they_take_curl(server, authority, pem, tmp_path) -> None:
    """For curl keeps names, each of its requests is a process; it never asks for `localhost`."""
    name, authorities = socket.gethostname(), tmp_path / "ca.pem"
    if not is_local(name):
        pytest.skip(f"this host's name, {name}, does not lead to itself")
    authorities.write_bytes(authority.cert_pem.bytes())
    url = f"https://{name}:{server}/"
    differences = []
    for _ in range(ROUNDS):
        curls, ours = [], []
        for _ in range(2 * TIMES):
            curls.append((await asyncio.to_thread(by_curl, url, authorities))[0, 0])
            ours.append((await by_us(url, pem))[0])
        theirs = np.median(curls)
        differences.append(np.median(ours) - theirs)
        if abs(differences[-1]) <= 0.05 * theirs + 0.0005:
            return
    pytest.fail(f"differences, seconds: {differences}")


def is_local(name: str) -> bool:
    try:
        address = socket.getaddrinfo(name, 0, socket.AF_INET)[0][4]
        with socket.socket() as sock:
            sock.bind(address)
    except OSError:
        return False
    return True
