"""Capacity: what a path can carry, by tests that never share a bottleneck."""
