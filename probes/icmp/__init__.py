"""ICMP echo (RFC 792, RFC 4443 §4) as a probe: for far ends without a reflector."""
