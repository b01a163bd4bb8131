#!/usr/bin/env python3
"""Loads an Arrow IPC file into a fresh PostgreSQL table as others do it, or makes the data of the bench.

`data SCALE DIR`: TPC-H lineitem as DIR/lineitem.arrow (batches of 65,536 rows), and a table of 7 columns as DIR/narrow.arrow.
`pgpq|adbc FILE TABLE ADDRESS`: prints one JSON line with rows, seconds without imports, and peak RSS in bytes.
"""

import json
import os
import resource
import subprocess
import sys
import time

TYPES = {"int64": "bigint", "int32": "integer", "double": "double precision", "string": "text", "date32[day]": "date"}
BATCH = 65536


def data(scale, directory):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    program = os.path.join(os.path.dirname(sys.executable), "tpchgen-cli")
    subprocess.run([program, "parquet", "-s", scale, "--tables", "lineitem", "--output-dir", directory], check=True)
    source = pq.ParquetFile(os.path.join(directory, "lineitem.parquet"))
    wide = narrow = None
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
        wide.write_table(table, BATCH)
        narrow.write_table(few, BATCH)
    wide.close()
    narrow.close()
    os.remove(os.path.join(directory, "lineitem.parquet"))


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


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "data":
        data(*arguments)
    else:
        rows, seconds = {"pgpq": pgpq, "adbc": adbc}[what](*arguments)
        print(json.dumps({"rows": rows, "seconds": seconds, "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
