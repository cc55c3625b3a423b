"""A network laboratory: namespaces on this machine, joined by wires or by an emulated WAN."""
