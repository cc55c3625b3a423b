"""What a capacity test loads, by name: what is leased, and whose windows it spoils."""

from __future__ import annotations

from collections.abc import Iterable

from netslo.estate import Link


def link_name(a: str, b: str) -> str:
    """Return the name of the link between two sites, the same from both ends: `leeds--london`."""
    return "--".join(sorted((a, b)))


def is_link(name: str) -> bool:
    """Whether a name is that of a link between two sites."""
    return "--" in name and not {":", "/"} & set(name)


def site_name(site: str) -> str:
    """Return the name of a site's own access: `site:leeds`."""
    return f"site:{site}"


def ends_name(near: str, far: str) -> str:
    """Return the name of what lies between two addresses of no estate, the same from both ends."""
    return "/".join(sorted((near, far)))


def names_between(src: str, dst: str) -> tuple[str, ...]:
    """Return what a test between two sites of an estate leases: the link, and both accesses.

    Sites without a link of their own are leased as if they had one: what lies between them is
    not known, but it is the same for every test between them.
    """
    return (link_name(src, dst), site_name(src), site_name(dst))


def own_link(links: Iterable[Link], a: str, b: str) -> str | None:
    """Return the name of the link that joins two sites, if there is one."""
    joined = any({link.a, link.b} == {a, b} for link in links)
    return link_name(a, b) if joined else None
