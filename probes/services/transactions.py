"""What each kind of request does, from the name to the judged answer."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from dataclasses import dataclass

from netslo.model import NS_PER_S
from netslo.service import (
    DnsRequest,
    HttpRequest,
    Phase,
    Request,
    ServiceResult,
    TcpRequest,
    TlsRequest,
    Transport,
    Url,
    Where,
    where_of,
)
from probes.services import dns as dns_protocol
from probes.services.connection import Connection, Connector
from probes.services.exchange import Exchange, Failed, NotTried, Stopwatch
from probes.services.http import HttpClient

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Transaction:
    """One request under way: `run` never raises but for cancelling, and ends by the time-out."""

    request: Request
    connector: Connector
    context: ssl.SSLContext | None  # of whoever has a certificate to judge
    watch: Stopwatch
    certificate_expires_s: int | None = None
    strangers: int = 0  # datagrams that answer nothing we asked

    async def run(self, timeout_ns: int) -> Exchange:
        """Go through with it; the time-out counts from the stopwatch's start."""
        result: ServiceResult | None
        try:
            left_s = timeout_ns / NS_PER_S - self.watch.elapsed_s
            async with asyncio.timeout(max(0.0, left_s)):
                await self._ask()
            result, detail = ServiceResult.OK, ""
        except TimeoutError:
            result, detail = self._late()
        except Failed as failure:
            result, detail = failure.result, failure.detail
        except NotTried as failure:
            result, detail = None, f"not sent: {failure}"
        except Exception:  # noqa: BLE001 - a bug of ours, which no peer may turn into the end of the probe
            _log.exception("an exchange with %s failed by our own fault", where_of(self.request))
            result, detail = None, "not measured: a fault of the probe"
        total_ns = self.watch.end()
        return Exchange(result, detail, total_ns, self.watch.spans_ns, self.certificate_expires_s)

    def _late(self) -> tuple[ServiceResult, str]:
        """Say what a time-out means: answers to another question are wrong, not missing."""
        if self.strangers:
            return ServiceResult.MALFORMED, f"{self.strangers} answers, none to the question"
        return ServiceResult.TIMEOUT, f"during {self.watch.phase or 'the start'}"

    async def _ask(self) -> None:
        match self.request:
            case TcpRequest(where):
                with await self.connector.open(where, self.watch):
                    pass
            case TlsRequest(where, server_name):
                with await self.connector.open(where, self.watch) as connection:
                    await self._secure(connection, server_name)
            case HttpRequest():
                await self._ask_http(self.request)
            case DnsRequest():
                await self._ask_dns(self.request)

    async def _secure(self, connection: Connection, server_name: str) -> None:
        assert self.context is not None
        self.watch.enter(Phase.TLS)
        expires_s = await connection.secure(self.context, server_name)
        if self.certificate_expires_s is None:  # that of the first of several redirects
            self.certificate_expires_s = expires_s

    async def _ask_http(self, request: HttpRequest) -> None:
        url: Url | None = request.url
        for _ in range(request.redirects_max + 1):
            assert url is not None
            client = HttpClient(request, url, own=url.authority == request.url.authority)
            with await self.connector.open(Where(url.host, url.port, request.ip), self.watch) as at:
                if url.secure:
                    await self._secure(at, url.host)
                await self._converse(at, client)
            url = client.redirect()
            if url is None:
                client.judge()
                return
        raise Failed(ServiceResult.TOO_MANY_REDIRECTS, f"more than {request.redirects_max}")

    async def _converse(self, connection: Connection, client: HttpClient) -> None:
        self.watch.enter(Phase.FIRST_BYTE)
        await connection.send(client.octets)
        octets_max = connection.received + client.octets_max
        octets = await connection.receive(octets_max)
        self.watch.enter(Phase.TRANSFER)
        while not client.receive(octets):
            octets = await connection.receive(octets_max)

    async def _ask_dns(self, request: DnsRequest) -> None:
        client = dns_protocol.DnsClient(request, random.SystemRandom().randrange(1 << 16))
        with await self.connector.open(request.where, self.watch, request.transport) as connection:
            if request.transport is Transport.TLS:
                await self._secure(connection, request.server_name)
            self.watch.enter(Phase.FIRST_BYTE)
            await connection.send(client.octets)
            if request.transport is Transport.UDP:
                answer = await self._datagram(connection, client)
            else:
                answer = await self._message(connection)
        client.judge(answer)

    async def _datagram(self, connection: Connection, client: dns_protocol.DnsClient) -> bytes:
        """Wait for the datagram that answers; one that does not may be anybody's.

        Raises:
            Failed: too many came that did not.
        """
        while self.strangers < dns_protocol.STRANGERS_MAX:
            answer = await connection.datagram(dns_protocol.DATAGRAM_MAX)
            if client.is_answer(answer):
                return answer
            self.strangers += 1
            await asyncio.sleep(0)
        raise Failed(ServiceResult.MALFORMED, f"{self.strangers} answers, none to the question")

    async def _message(self, connection: Connection) -> bytes:
        framing = dns_protocol.Framing()
        octets_max = connection.received + 2 * dns_protocol.MESSAGE_MAX
        octets = await connection.receive(octets_max)
        self.watch.enter(Phase.TRANSFER)
        while (answer := framing.receive(octets)) is None:
            octets = await connection.receive(octets_max)
        return answer
