"""What this host's network interfaces can do for measuring; read only, no privilege needed.

Asked by ioctl, as `ethtool -T` and `ip link` do, so neither of them must be there. A container
sees the interfaces of its own network namespace.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFMTU: Final = 0x8921
_SIOCETHTOOL: Final = 0x8946
_SIOCGHWTSTAMP: Final = 0x89B1
_UP, _LOOPBACK, _RUNNING = 1 << 0, 1 << 3, 1 << 6
_NAME_MAX: Final = 15
_REQUEST_SIZE: Final = 40  # of `struct ifreq`: the name in 16 octets, and what it is about
_NAME: Final = Struct("=16s")
_FLAGS: Final = Struct("=16sH")
_MTU: Final = Struct("=16si")
_POINTER: Final = Struct("@16sP")
_COMMAND: Final = Struct("=I")
_STAMPING: Final = Struct("=iii")  # struct hwtstamp_config: flags, transmit type, receive filter

# linux/ethtool.h
GET_DRIVER: Final = 0x00000003
GET_TIMESTAMPING: Final = 0x00000041
DRIVER: Final = Struct("=I32s32s32s32s32s12s5I")
TIMESTAMPING: Final = Struct("=IIiI12xI12x")  # command, flags, clock, transmit, receive

# linux/net_tstamp.h
_TX_HARDWARE, _TX_SOFTWARE, _RX_HARDWARE, _RX_SOFTWARE, _SOFTWARE = (1 << bit for bit in range(5))
_RAW_HARDWARE: Final = 1 << 6
_TX_ON: Final = 1  # HWTSTAMP_TX_ON
_FILTER_ALL: Final = 1  # HWTSTAMP_FILTER_ALL
_TRANSMIT_TYPES: Final = ("off", "on", "onestep-sync", "onestep-p2p")
_RECEIVE_FILTERS: Final = (
    "none",
    "all",
    "some",
    "ptpv1-l4-event",
    "ptpv1-l4-sync",
    "ptpv1-l4-delay-req",
    "ptpv2-l4-event",
    "ptpv2-l4-sync",
    "ptpv2-l4-delay-req",
    "ptpv2-l2-event",
    "ptpv2-l2-sync",
    "ptpv2-l2-delay-req",
    "ptpv2-event",
    "ptpv2-sync",
    "ptpv2-delay-req",
    "ntp-all",
)
_NOT_ANSWERED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Timestamping:
    """Who can stamp a packet of an interface: the kernel (software) or the device (hardware)."""

    software_transmit: bool
    software_receive: bool
    hardware_transmit: bool
    hardware_receive: bool
    phc_index: int | None  # of the device's clock, /dev/ptpN
    transmit_types: tuple[str, ...] = ()
    receive_filters: tuple[str, ...] = ()

    @property
    def software(self) -> bool:
        """Whether the kernel stamps what leaves and what comes."""
        return self.software_transmit and self.software_receive

    @property
    def hardware(self) -> bool:
        """Whether the device could stamp any packet; many stamp those of PTP only."""
        both = self.hardware_transmit and self.hardware_receive
        return both and "on" in self.transmit_types and "all" in self.receive_filters

    def to_json(self) -> dict[str, Any]:
        return {
            "software_transmit": self.software_transmit,
            "software_receive": self.software_receive,
            "hardware_transmit": self.hardware_transmit,
            "hardware_receive": self.hardware_receive,
            "phc_index": self.phc_index,
            "transmit_types": list(self.transmit_types),
            "receive_filters": list(self.receive_filters),
        }


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface; None is what the kernel does not say."""

    name: str
    up: bool  # somebody has switched it on
    link: bool  # and it has a carrier
    loopback: bool
    mtu: int | None
    driver: str | None
    timestamping: Timestamping | None
    device_stamps: bool = False  # the device stamps every packet now: somebody has switched it on
    device_busy: bool = False  # it stamps some at least

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `doctor --json`; what is not known is null."""
        return {
            "name": self.name,
            "up": self.up,
            "link": self.link,
            "loopback": self.loopback,
            "mtu": self.mtu,
            "driver": self.driver,
            "timestamping": None if self.timestamping is None else self.timestamping.to_json(),
            "device_stamps": self.device_stamps,
        }


def parse_timestamping(octets: bytes) -> Timestamping:
    """Read a `struct ethtool_ts_info`, octets as the kernel filled them in.

    Raises:
        ValueError: they are too few, or of another request.
    """
    if len(octets) < TIMESTAMPING.size:
        raise ValueError(f"{len(octets)} octets are no ethtool_ts_info")
    command, flags, clock, transmit, receive = TIMESTAMPING.unpack_from(octets)
    if command != GET_TIMESTAMPING:
        raise ValueError(f"{command:#x} is not ETHTOOL_GET_TS_INFO")
    software, raw = bool(flags & _SOFTWARE), bool(flags & _RAW_HARDWARE)
    return Timestamping(
        software_transmit=software and bool(flags & _TX_SOFTWARE),
        software_receive=software and bool(flags & _RX_SOFTWARE),
        hardware_transmit=raw and bool(flags & _TX_HARDWARE),
        hardware_receive=raw and bool(flags & _RX_HARDWARE),
        phc_index=clock if clock >= 0 else None,
        transmit_types=_named(transmit, _TRANSMIT_TYPES),
        receive_filters=_named(receive, _RECEIVE_FILTERS),
    )


def parse_driver(octets: bytes) -> str | None:
    """Read the driver's name in a `struct ethtool_drvinfo`; None where it has none.

    Raises:
        ValueError: the octets are too few, or of another request.
    """
    if len(octets) < DRIVER.size:
        raise ValueError(f"{len(octets)} octets are no ethtool_drvinfo")
    command, name, *_ = DRIVER.unpack_from(octets)
    if command != GET_DRIVER:
        raise ValueError(f"{command:#x} is not ETHTOOL_GDRVINFO")
    text = name.partition(b"\0")[0].decode("ascii", "replace")
    return text if text.isprintable() and text else None


def list_interfaces() -> list[Interface]:
    """Return every interface of this network namespace; one that goes away meanwhile is left out.

    A sandbox that does not let itself be asked has none.
    """
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError:
        return []
    found = (read_interface(name) for name in names)
    return [interface for interface in found if interface is not None]


def read_interface(name: str) -> Interface | None:
    """Return what the kernel says of an interface; None where there is none of that name."""
    encoded = name.encode()
    if not 0 < len(encoded) <= _NAME_MAX or b"\0" in encoded:
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return _read(sock, name, encoded)
    except OSError:
        return None


def _read(sock: socket.socket, name: str, encoded: bytes) -> Interface:
    _, flags = _FLAGS.unpack_from(_ask(sock, _SIOCGIFFLAGS, encoded))
    driver = _ask_ethtool(sock, encoded, GET_DRIVER, DRIVER.size)
    stamps = _ask_ethtool(sock, encoded, GET_TIMESTAMPING, TIMESTAMPING.size)
    stamping = _stamping(sock, encoded)
    return Interface(
        name,
        up=bool(flags & _UP),
        link=bool(flags & _UP and flags & _RUNNING),
        loopback=bool(flags & _LOOPBACK),
        mtu=_mtu(sock, encoded),
        driver=None if driver is None else parse_driver(driver),
        timestamping=None if stamps is None else parse_timestamping(stamps),
        device_stamps=stamping == (_TX_ON, _FILTER_ALL),
        device_busy=any(stamping),
    )


def _stamping(sock: socket.socket, name: bytes) -> tuple[int, int]:
    """Return which packets the device stamps of those that leave and that come; 0: none."""
    octets = _ask_behind(sock, _SIOCGHWTSTAMP, name, bytes(_STAMPING.size), _STAMPING.size)
    if octets is None:
        return 0, 0
    _, transmit, receive = _STAMPING.unpack(octets)
    return transmit, receive


def _mtu(sock: socket.socket, name: bytes) -> int | None:
    try:
        _, mtu = _MTU.unpack_from(_ask(sock, _SIOCGIFMTU, name))
    except OSError:
        return None
    return int(mtu)


def _ask(sock: socket.socket, request: int, name: bytes) -> bytes:
    """Return the `struct ifreq` which the kernel filled in."""
    octets = bytearray(_REQUEST_SIZE)
    _NAME.pack_into(octets, 0, name)
    fcntl.ioctl(sock, request, octets)
    return bytes(octets)


def _ask_ethtool(sock: socket.socket, name: bytes, command: int, size: int) -> bytes | None:
    """Return the structure of a request to ethtool; None where the interface has no such thing.

    Raises:
        OSError: there is no such interface any more.
    """
    return _ask_behind(sock, _SIOCETHTOOL, name, _COMMAND.pack(command), size)


def _ask_behind(
    sock: socket.socket, asked: int, name: bytes, begin: bytes, size: int
) -> bytes | None:
    """Return the structure of `size` octets behind a request, which begins with `begin`."""
    answer = ctypes.create_string_buffer(begin, size)
    request = bytearray(_REQUEST_SIZE)
    _POINTER.pack_into(request, 0, name, ctypes.addressof(answer))
    try:
        fcntl.ioctl(sock, asked, request)
    except OSError as error:
        if error.errno in _NOT_ANSWERED:
            return None
        raise
    return answer.raw


def _named(bits: int, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(names) if bits >> bit & 1)
