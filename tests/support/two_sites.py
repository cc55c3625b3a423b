"""An estate of two sites on loopback, as a person would write it."""

from __future__ import annotations

_SITE = """\
  - name: {name}
    tier: national
    region: {region}
    residency_zone: gb
    location: {{lat: 0, lon: 0}}
    addresses: ["127.0.0.1:{port}"]
"""


def estate(
    a: int,
    b: int,
    *,
    interval: str = "50ms",
    key_file: str | None = None,
    bandwidth: str | None = None,
    tests: int | None = None,
) -> str:
    """Return estate.yaml of the sites a and b.

    Args:
        a: The UDP port of a's reflector.
        b: Of b's.
        interval: Of probes.
        key_file: Of authentication, if there is any.
        bandwidth: How bandwidth is tested, if it is: the value of `probing: bandwidth:`.
        tests: Where b answers such tests.
    """
    lines = ["version: 1", "name: two", "currency: GBP", "classes: [{name: be, dscp: 0}]"]
    lines += ["probing:", f"  interval: {interval}", "  timeout: 500ms"]
    if bandwidth is not None:
        lines.append(f"  bandwidth: {bandwidth}")
    if key_file is not None:
        lines.append(f"authentication: {{key_file: {key_file}}}")
    sites = _SITE.format(name="a", region="x", port=a) + _SITE.format(name="b", region="y", port=b)
    text = "\n".join([*lines, "sites:", sites])
    if tests is not None:
        text += f"    bandwidth: {tests}\n"
        text += "links: [{between: [a, b], capacity: 10Gbit/s, cost_per_gigabyte: 0.0}]\n"
    return text


def link_estate(classes: str, plan: str) -> str:
    """Return estate.yaml of london and leeds, which both answer capacity tests of their link.

    Args:
        classes: The value of `classes:`.
        plan: What follows in the value of `probing:`, such as ", bandwidth: {interval: 1d}".
    """
    return f"""\
version: 1
name: two
currency: GBP
classes: {classes}
probing: {{interval: 200ms, timeout: 1s{plan}}}
links: [{{between: [london, leeds], capacity: 1Gbit/s, cost_per_gigabyte: 0}}]
sites:
""" + "".join(
        _SITE.format(name=name, region=name, port=port) + f"    bandwidth: {port + 100}\n"
        for name, port in (("london", 20001), ("leeds", 20002))
    )
