"""Prometheus' messages by protobuf's own library: what ours are held against."""

from __future__ import annotations

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.decoder import _DecodeVarint


# The fields of Prometheus' metrics.proto and types.proto: (number, name, type, repeated).
def _messages() -> dict[str, list[tuple[int, str, str, bool]]]:
    span = [(1, "offset", "sint32", False), (2, "length", "uint32", False)]
    label = [(1, "name", "string", False), (2, "value", "string", False)]
    number = [(1, "value", "double", False)]
    return {
        "LabelPair": label, "Number": number, "BucketSpan": span,
        "Bucket": [(1, "cumulative_count", "uint64", False), (2, "upper_bound", "double", False)],
        "Quantile": [(1, "quantile", "double", False), (2, "value", "double", False)],
        "Summary": [(1, "sample_count", "uint64", False), (2, "sample_sum", "double", False),
                    (3, "quantile", ".Quantile", True)],
        "Histogram": [
            (1, "sample_count", "uint64", False), (2, "sample_sum", "double", False),
            (3, "bucket", ".Bucket", True), (5, "schema", "sint32", False),
            (6, "zero_threshold", "double", False), (7, "zero_count", "uint64", False),
            (9, "negative_span", ".BucketSpan", True), (10, "negative_delta", "sint64", True),
            (12, "positive_span", ".BucketSpan", True), (13, "positive_delta", "sint64", True)],
        "Metric": [(1, "label", ".LabelPair", True), (2, "gauge", ".Number", False),
                   (3, "counter", ".Number", False), (4, "summary", ".Summary", False),
                   (5, "untyped", ".Number", False), (7, "histogram", ".Histogram", False)],
        "MetricFamily": [(1, "name", "string", False), (2, "help", "string", False),
                         (3, "type", "int32", False), (4, "metric", ".Metric", True)],
        "Sample": [(1, "value", "double", False), (2, "timestamp", "int64", False)],
        "WriteHistogram": [
            (1, "count", "uint64", False), (3, "sum", "double", False),
            (4, "schema", "sint32", False), (5, "zero_threshold", "double", False),
            (6, "zero_count", "uint64", False), (8, "negative_spans", ".BucketSpan", True),
            (9, "negative_deltas", "sint64", True), (11, "positive_spans", ".BucketSpan", True),
            (12, "positive_deltas", "sint64", True), (15, "timestamp", "int64", False)],
        "TimeSeries": [(1, "labels", ".LabelPair", True), (2, "samples", ".Sample", True),
                       (4, "histograms", ".WriteHistogram", True)],
        "WriteRequest": [(1, "timeseries", ".TimeSeries", True)],
    }  # fmt: skip


@functools.cache
def message(name: str):
    """Return protobuf's own class for a message of Prometheus'."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="prometheus.proto", syntax="proto3")
    for of, fields in _messages().items():
        proto = file.message_type.add(name=of)
        for number, field, kind, repeated in fields:
            one = proto.field.add(name=field, number=number)
            one.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind.startswith("."):
                one.type, one.type_name = kinds.TYPE_MESSAGE, kind
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def delimited(body: bytes) -> dict[str, object]:
    """Read an exposition: families by name."""
    found, at = {}, 0
    while at < len(body):
        size, at = _DecodeVarint(body, at)
        family = message("MetricFamily").FromString(body[at : at + size])
        assert family.name not in found
        found[family.name] = family
        at += size
    return found


def unsnapped(block: bytes) -> bytes:
    """Read a Snappy block of literals, by the format's description."""
    size, at = _DecodeVarint(block, 0)
    out = b""
    while at < len(block):
        tag, at = block[at], at + 1
        assert tag & 3 == 0
        length = tag >> 2
        if length >= 60:
            octets = length - 59
            length = int.from_bytes(block[at : at + octets], "little")
            at += octets
        out += block[at : at + length + 1]
        at += length + 1
    assert len(out) == size
    return out


def counts_of(spans, deltas) -> dict[int, int]:
    """Return counts by Prometheus' bucket index."""
    found, index, count, rest = {}, 0, 0, iter(deltas)
    for number, span in enumerate(spans):
        index = span.offset if number == 0 else index + span.offset
        for _ in range(span.length):
            count += next(rest)
            found[index] = count
            index += 1
    assert next(rest, None) is None
    return found
