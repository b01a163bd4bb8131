"""What ours is compared with: makes the rows, and writes them with pyarrow alone. Says one JSON line, like the runner."""

import json
import os
import random
import sys
import time

sys.path.insert(0, os.environ.get("SPILLWAY_WHEELS", "/opt/df"))

import pyarrow as pa  # noqa: E402
import pyarrow.ipc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

FRAME_ROWS = 65_536


def make(path, size):
    numbers = random.Random(7)
    words = ["".join(numbers.choices("abcdefghij ", k=24)) for _ in range(4096)]
    rows = FRAME_ROWS
    schema = pa.schema([("k", pa.int64()), ("v", pa.float64()), ("d", pa.date32()), ("s", pa.string())])
    at = 0
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, schema) as writer:
        while file.tell() < size:
            batch = pa.record_batch(
                [
                    pa.array(range(at, at + rows), pa.int64()),
                    pa.array([numbers.random() for _ in range(rows)], pa.float64()),
                    pa.array([9000 + n % 2500 for n in range(at, at + rows)], pa.int32()).cast(pa.date32()),
                    pa.array([words[n * 31 % 4096] for n in range(at, at + rows)], pa.string()),
                ],
                schema=schema,
            )
            writer.write_batch(batch)
            at += rows


def batches(path):
    reader = pa.ipc.open_file(pa.memory_map(path))
    return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))


def sync(file):
    file.flush()
    os.fsync(file.fileno())


def arrow(source, target):
    schema, rows = batches(source)
    with open(target, "wb", buffering=1 << 20) as file:
        with pa.ipc.new_file(file, schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        sync(file)


def parquet(source, target, group_bytes):
    schema, rows = batches(source)
    with open(target, "wb", buffering=1 << 20) as file:
        with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
            pending, size = [], 0
            for batch in rows:
                pending.append(batch)
                size += batch.nbytes
                if size >= group_bytes:
                    table = pa.Table.from_batches(pending, schema)
                    writer.write_table(table, row_group_size=table.num_rows)
                    pending, size = [], 0
            if pending:
                table = pa.Table.from_batches(pending, schema)
                writer.write_table(table, row_group_size=table.num_rows)
        sync(file)


def memcpy(source):
    with pa.memory_map(source) as file:
        view = memoryview(file.read_buffer()).cast("B")
        target = memoryview(bytearray(len(view)))  # a slice of the bytearray itself would be copied twice
        target[:] = view  # touches the pages of both
        began = time.perf_counter()
        target[:] = view
        return time.perf_counter() - began


act, source, *more = sys.argv[1:]
began = time.perf_counter()
seconds = None
if act == "make":
    make(source, int(more[0]))
elif act == "memcpy":
    seconds = memcpy(source)
elif act == "arrow":
    arrow(source, more[0])
elif act == "parquet":
    parquet(source, more[0], int(more[1]))
else:
    raise SystemExit(f"no such act: {act}")
print(json.dumps({"ev": "done", "seconds": time.perf_counter() - began if seconds is None else seconds}), flush=True)
os._exit(0)
