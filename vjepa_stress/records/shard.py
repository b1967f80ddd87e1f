"""Shards: rows, Arrow schema, bytes, and digest of the content."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_stress.columns import ColumnKind
from vjepa_stress.design import Design
from vjepa_stress.digest import Digest, canonical_json, digest_of

Entry = str | float | int | bool | list[int] | list[float] | None
"""One value of a shard."""

Row = dict[str, Entry]
"""One row of a shard, by column."""

_ARROW: dict[ColumnKind, tuple[pa.DataType, bool]] = {
    "unit": (pa.string(), False),
    "value": (pa.float64(), True),
    "count": (pa.int64(), False),
    "integers": (pa.list_(pa.int64()), True),
    "values": (pa.list_(pa.float64()), True),
    "flag": (pa.bool_(), False),
}
"""Arrow type of each kind of column, and whether it may be null."""


def shard_schema(design: Design) -> pa.Schema:
    """Arrow schema of a shard."""
    return pa.schema([pa.field(column.name, *_ARROW[column.kind]) for column in design.layout])


def content_digest(rows: list[Row]) -> Digest:
    """Digest of the content of a shard. It does not depend on the encoding of the file or the order of rows."""
    return digest_of(sorted(rows, key=canonical_json))


def shard_bytes(rows: list[Row], schema: pa.Schema) -> bytes:
    """Encode rows as Parquet, sorted by unit, the first column."""
    ordered = sorted(rows, key=lambda row: str(row[schema.names[0]]))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ordered, schema=schema), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_shard(data: bytes) -> pa.Table:
    """Decode Parquet in the current thread.

    A worker thread of Arrow may release memory after the interpreter has ended. If the memory belongs to a Python
    object, the process aborts (SIGABRT) and its exit code is lost. Therefore no worker threads are used, neither for
    decoding nor for reading ahead, and Arrow reads from its own copy of the bytes.

    Raises:
        pa.ArrowException, OSError: when the bytes are not Parquet.
    """
    sink = pa.BufferOutputStream()
    sink.write(data)
    return pq.ParquetFile(pa.BufferReader(sink.getvalue()), pre_buffer=False).read(use_threads=False)


def number_or_null(value: float) -> float | None:
    """The value, or null for NaN and infinities. The flag of the row tells null and non-finite apart."""
    return value if math.isfinite(value) else None
