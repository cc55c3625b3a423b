"""Batches of windows as OpenTelemetry metrics, and back, without loss."""

from analytics.otlp.decode import (
    Decoded,
    HealthPoint,
    Limits,
    MalformedRequest,
    Rejection,
    decode_request,
)
from analytics.otlp.encode import encode_batch
from analytics.otlp.histogram import sketch_from_bytes, sketch_to_bytes

__all__ = [
    "Decoded",
    "HealthPoint",
    "Limits",
    "MalformedRequest",
    "Rejection",
    "decode_request",
    "encode_batch",
    "sketch_from_bytes",
    "sketch_to_bytes",
]
