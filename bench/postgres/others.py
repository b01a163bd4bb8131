#!/usr/bin/env python3
"""Loads an Arrow IPC file into a fresh PostgreSQL table as others do it, or makes the data of the bench.

`data SCALE DIR`: TPC-H lineitem as DIR/lineitem.arrow (batches of 65,536 rows) and DIR/lineitem.parquet, and a table of 7 columns as DIR/narrow.arrow.
`pgpq|adbc|dlt FILE TABLE ADDRESS`: prints one JSON line with rows, seconds without imports, and peak RSS in bytes.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

TYPES = {"int64": "bigint", "int32": "integer", "double": "double precision", "string": "text", "date32[day]": "date"}
BATCH = 65536
# As handoffs in Parquet are written.
ROW_GROUP = 128_000_000


def data(scale, directory):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    program = os.path.join(os.path.dirname(sys.executable), "tpchgen-cli")
    subprocess.run([program, "parquet", "-s", scale, "--tables", "lineitem", "--output-dir", directory], check=True)
    source = pq.ParquetFile(os.path.join(directory, "lineitem.parquet"))
    wide = narrow = packed = None
    rows = []
    for batch in source.iter_batches(BATCH):
        table = pa.Table.from_batches([batch])
        columns = {}
        for field in table.schema:
            column = table[field.name]
            if pa.types.is_decimal(field.type):
                column = column.cast(pa.float64())
            elif pa.types.is_string_view(field.type) or pa.types.is_large_string(field.type):
                column = column.cast(pa.string())
            columns[field.name] = column
        table = pa.table(columns).combine_chunks()
        few = table.select(["l_orderkey", "l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_extendedprice", "l_shipdate"])
        if wide is None:
            wide = pa.ipc.new_file(os.path.join(directory, "lineitem.arrow"), table.schema)
            narrow = pa.ipc.new_file(os.path.join(directory, "narrow.arrow"), few.schema)
            packed = pq.ParquetWriter(os.path.join(directory, "wide.parquet"), table.schema, compression="zstd", compression_level=1)
        wide.write_table(table, BATCH)
        narrow.write_table(few, BATCH)
        rows.append(table)
        if sum(part.nbytes for part in rows) > ROW_GROUP:
            packed.write_table(pa.concat_tables(rows))
            rows.clear()
    wide.close()
    narrow.close()
    if rows:
        packed.write_table(pa.concat_tables(rows))
    packed.close()
    os.replace(os.path.join(directory, "wide.parquet"), os.path.join(directory, "lineitem.parquet"))


def create(schema, table):
    columns = ", ".join(f'"{field.name}" {TYPES[str(field.type)]}' for field in schema)
    return f"create table {table} ({columns})"


def pgpq(path, table, address):
    import psycopg
    import pyarrow as pa
    from pgpq import ArrowToPostgresBinaryEncoder

    began = time.perf_counter()
    reader = pa.ipc.open_file(pa.memory_map(path))
    rows = 0
    with psycopg.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(create(reader.schema, table))
        encoder = ArrowToPostgresBinaryEncoder(reader.schema)
        with cursor.copy(f"copy {table} from stdin with (format binary)") as copy:
            copy.write(encoder.write_header())
            for at in range(reader.num_record_batches):
                batch = reader.get_batch(at)
                rows += batch.num_rows
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
    return rows, time.perf_counter() - began


def adbc(path, table, address):
    import adbc_driver_postgresql.dbapi
    import pyarrow as pa

    began = time.perf_counter()
    reader = pa.ipc.open_file(pa.memory_map(path))
    schema, name = table.split(".")
    with adbc_driver_postgresql.dbapi.connect(address) as connection, connection.cursor() as cursor:
        batches = pa.RecordBatchReader.from_batches(reader.schema, (reader.get_batch(at) for at in range(reader.num_record_batches)))
        rows = cursor.adbc_ingest(name, batches, mode="create", db_schema_name=schema)
        connection.commit()
    return rows, time.perf_counter() - began


def dlt(path, table, address):
    import dlt
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(path))
    schema, name = table.split(".")
    directory = tempfile.mkdtemp(prefix="spillway-bench-dlt-")
    try:
        began = time.perf_counter()
        pipeline = dlt.pipeline("bench", pipelines_dir=directory, destination=dlt.destinations.postgres(address), dataset_name=schema)
        resource = dlt.resource((reader.get_batch(at) for at in range(reader.num_record_batches)), name=name, write_disposition="replace")
        pipeline.run(resource)
        seconds = time.perf_counter() - began
    finally:
        shutil.rmtree(directory)
    return sum(reader.get_batch(at).num_rows for at in range(reader.num_record_batches)), seconds


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "data":
        data(*arguments)
    else:
        rows, seconds = {"pgpq": pgpq, "adbc": adbc, "dlt": dlt}[what](*arguments)
        print(json.dumps({"rows": rows, "seconds": seconds, "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
