"""Protobuf's own parser over what lies around the points of a metrics request.

Parsing every number of every point into objects that nobody reads costs more than all else that
is done to a request. So the parser gets OTLP's messages with one difference: what holds the points
of a metric is octets to it. The compiled walk validates those (`analytics._kernels.walk`).
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

_PACKAGE: Final = "netslo.otlp.framing"
_Field = FieldDescriptorProto
# Numbers and types as in opentelemetry/proto/metrics/v1/metrics.proto; a field that is not here,
# which no plain request has, is skipped like any unknown one.
_MESSAGES: Final = {
    "Metric": (
        ("name", 1, "string"),
        ("description", 2, "string"),
        ("unit", 3, "string"),
        ("gauge", 5, "bytes"),
        ("sum", 7, "bytes"),
        ("exponential_histogram", 10, "bytes"),
    ),
    "ScopeMetrics": (
        ("scope", 1, ".opentelemetry.proto.common.v1.InstrumentationScope"),
        ("metrics", 2, "Metric"),
        ("schema_url", 3, "string"),
    ),
    "ResourceMetrics": (
        ("resource", 1, ".opentelemetry.proto.resource.v1.Resource"),
        ("scope_metrics", 2, "ScopeMetrics"),
        ("schema_url", 3, "string"),
    ),
    "Request": (("resource_metrics", 1, "ResourceMetrics"),),
}


def _field(name: str, number: int, kind: str) -> FieldDescriptorProto:
    """Return a field; of messages of ours there may be many, as there may be in OTLP."""
    field = _Field(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind in ("string", "bytes"):
        field.type = _Field.TYPE_STRING if kind == "string" else _Field.TYPE_BYTES
        return field
    field.type = _Field.TYPE_MESSAGE
    field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    if not kind.startswith("."):
        field.label = _Field.LABEL_REPEATED
    return field


def _request_class() -> Any:
    file = FileDescriptorProto(
        name="netslo/otlp/framing.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[common_pb2.DESCRIPTOR.name, resource_pb2.DESCRIPTOR.name],
        message_type=[
            DescriptorProto(name=name, field=[_field(*each) for each in fields])
            for name, fields in _MESSAGES.items()
        ],
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


_REQUEST: Final = _request_class()


def is_framed(body: bytes) -> bool:
    """Whether protobuf's parser accepts a request, whatever its points are."""
    try:
        _REQUEST.FromString(body)
    except DecodeError:
        return False
    return True
