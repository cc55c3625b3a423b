"""Simple Two-Way Active Measurement Protocol (RFC 8762, 8972), without sockets or clocks."""
