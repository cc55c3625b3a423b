"""Who can stamp packets here: the kernel, and the devices of each interface."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Iterator
from typing import Final

from netslo.app.doctor.finding import Finding, works
from probes.device_clock import DeviceUse, use_device_clock
from probes.interfaces import Interface, Timestamping
from probes.timestamps import keep_stamping

_LOOPBACK: Final = "127.0.0.1"
_SO_TIMESTAMPING: Final = 37
_SO_TIMESTAMPING_NEW: Final = 65
_TX_SOFTWARE, _SOFTWARE, _TIMESTAMP_ONLY = 1 << 1, 1 << 4, 1 << 11
_TRANSMIT_WAIT_MS: Final = 500


def kernel_stamps() -> Iterator[Finding]:
    """Try on loopback whether the kernel stamps what comes and what leaves."""
    good = keep_stamping()  # it takes the kernel a while to begin
    yield Finding(
        "kernel receive timestamps",
        good,
        "SO_TIMESTAMPNS works" if good else "SO_TIMESTAMPNS does not work",
        "T2 and T4 do not contain this host's scheduling"
        if good
        else "T2 and T4 are read in user space: a busy host looks like a slow network",
        "" if good else "a kernel or sandbox that lets SO_TIMESTAMPNS through",
    )
    good = works(_stamps_what_leaves)
    yield Finding(
        "kernel transmit timestamps",
        good,
        "SO_TIMESTAMPING works" if good else "SO_TIMESTAMPING does not work",
        "T1 and T3 do not contain it either: class A between hosts that both have this"
        if good
        else "T1 and T3 are read in user space: class C, and the plain engine measures",
        "" if good else "Linux 5.1 or newer, outside a sandbox without SO_TIMESTAMPING",
    )


def interface_stamps(interfaces: Iterable[Interface]) -> Iterator[Finding]:
    """Say of each interface that is up, but loopback, who stamps its packets."""
    for interface in interfaces:
        if interface.up and not interface.loopback:
            yield _of(interface)
    use = use_device_clock()
    if use.interface is not None:
        yield device_stamps(use)


def device_stamps(use: DeviceUse) -> Finding:
    """Say whether the timestamps of a device that can stamp any packet are used."""
    if use.used:
        return Finding(
            "hardware timestamps",
            good=True,
            found=f"{use.interface}: its clock keeps pace with the system's, its stamps are used",
            meaning="not even the driver and its queues are in a round trip",
            mend="",
        )
    return Finding(
        "hardware timestamps",
        good=False,
        found=f"{use.interface}: {use.reason}",
        meaning="the kernel's own stamps are used, in which the driver's queues are",
        mend=use.mend,
    )


def _of(interface: Interface) -> Finding:
    about = [interface.driver or "", f"MTU {interface.mtu}" if interface.mtu else ""]
    name = f"interface {interface.name}"
    described = ", ".join(filter(None, [*about, "" if interface.link else "no carrier"]))
    stamps = interface.timestamping
    if stamps is None:
        return Finding(
            name,
            good=False,
            found=f"{described}: does not say who stamps its packets",
            meaning="what its packets are stamped by shows only when they are measured",
            mend=f"ethtool -T {interface.name}",
        )
    good = stamps.software
    return Finding(
        name,
        good,
        f"{described}: {_software(stamps)}, {_hardware(stamps)}",
        "" if good else "packets that leave by it have no kernel timestamp: class C",
        "" if good else f"another driver than {interface.driver or 'this'}",
    )


def _software(stamps: Timestamping) -> str:
    if stamps.software:
        return "the kernel stamps"
    if stamps.software_receive:
        return "the kernel stamps what comes, not what leaves"
    return "the kernel stamps nothing"


def _hardware(stamps: Timestamping) -> str:
    if stamps.phc_index is None:
        return "no hardware clock"
    clock = f"hardware clock /dev/ptp{stamps.phc_index}"
    return f"{clock} for any packet" if stamps.hardware else f"{clock} for PTP only"


def _stamps_what_leaves() -> bool:
    """Send a datagram to ourselves and see whether the kernel's error queue has its stamp."""
    with _udp() as receiver, _udp() as sender:
        receiver.bind((_LOOPBACK, 0))
        flags = _TX_SOFTWARE | _SOFTWARE | _TIMESTAMP_ONLY
        sender.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
        sender.sendto(b"netslo", receiver.getsockname())
        poll = select.poll()
        poll.register(sender, select.POLLERR)
        if not poll.poll(_TRANSMIT_WAIT_MS):
            return False
        queue = socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
        _, ancillary, _, _ = sender.recvmsg(64, 512, queue)
    kinds = {kind for level, kind, _ in ancillary if level == socket.SOL_SOCKET}
    return not kinds.isdisjoint((_SO_TIMESTAMPING, _SO_TIMESTAMPING_NEW))


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
