"""YAML that a person reviews: the same octets each time, long expressions as blocks."""

from __future__ import annotations

from typing import Any

import yaml

_WIDTH = 2**16  # a wrapped expression is hard to read, and its diff harder


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - write all of it out
        return True


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def to_yaml(data: Any, head: str) -> str:
    """Return a document under a comment, keys in the order they stand in."""
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    return comment + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=_WIDTH)
