"""Receiving over OTLP/HTTP, keeping, and publishing as Prometheus metrics and as JSON."""
