"""Extensions of ICMP errors (RFC 4884): MPLS label stacks (RFC 4950).

0  version 2 in four bits, reserved       of each object:
2  checksum, of all that follows too       0  length, this header included
4  objects                                 2  class, type
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from netslo.route import LABELS_MAX, Label
from probes.icmp.packet import checksum

HEADER_SIZE: Final = 4
OBJECTS_MAX: Final = 32
MPLS_CLASS, INCOMING_STACK = 1, 1

_VERSION: Final = 2
_OBJECT: Final = Struct("!HBB")
_ENTRY: Final = Struct("!I")


def read_labels(extension: bytes) -> tuple[Label, ...]:
    """Return the topmost labels of the stack with which a packet reached the router.

    Raises:
        ValueError: not an extension, a checksum that does not fit, objects that do not add up.
    """
    if len(extension) < HEADER_SIZE:
        raise ValueError(f"extension has {len(extension)} octets, needs {HEADER_SIZE}")
    if extension[0] >> 4 != _VERSION:
        raise ValueError(f"extension is of version {extension[0] >> 4}, not {_VERSION}")
    if extension[2:4] != b"\0\0" and checksum(extension):
        raise ValueError("the checksum of the extension does not fit")
    labels: tuple[Label, ...] = ()
    place = HEADER_SIZE
    for _ in range(OBJECTS_MAX):
        if place == len(extension):
            return labels
        if len(extension) - place < _OBJECT.size:
            raise ValueError("an object of the extension is cut short")
        length, kind, subtype = _OBJECT.unpack_from(extension, place)
        if not _OBJECT.size <= length <= len(extension) - place:
            raise ValueError("an object of the extension has a length that cannot be")
        if (kind, subtype) == (MPLS_CLASS, INCOMING_STACK):
            labels = labels or _stack(extension[place + _OBJECT.size : place + length])
        place += length
    raise ValueError(f"the extension has more than {OBJECTS_MAX} objects")


def _stack(octets: bytes) -> tuple[Label, ...]:
    if not octets or len(octets) % _ENTRY.size:
        raise ValueError("a label stack is not a whole number of entries")
    labels = []
    for (entry,) in _ENTRY.iter_unpack(octets[: LABELS_MAX * _ENTRY.size]):
        labels.append(Label(entry >> 12, entry >> 9 & 7, bool(entry >> 8 & 1), entry & 0xFF))
    return tuple(labels)
