#!/usr/bin/env python3
"""The pipeline as somebody would write it by hand: Trino unloads, DataFusion transforms, PostgreSQL is loaded.

Takes a JSON file with addresses and statements; the statements are those of the bench's own run. Prints one JSON line with
what each phase took. No retry, no resume, no atomic swap: that is what it is compared for.
"""

import time

BEGAN = time.perf_counter()

import json
import os
import shutil
import sys

import datafusion
import psycopg
import trino
from pgpq import ArrowToPostgresBinaryEncoder

IMPORTED = time.perf_counter()


def unload(given):
    """CREATE TABLE AS into the shared scratch, zstd; answers the directory of the files."""
    host, port = given["trino"].removeprefix("http://").split(":")
    name = given["unload"]
    connection = trino.dbapi.connect(
        host=host, port=int(port), user="bench", session_properties={f"{given['catalog']}.compression_codec": "ZSTD"}
    )
    cursor = connection.cursor()

    def run(statement):
        cursor.execute(statement)
        return cursor.fetchall()

    run(f"create schema if not exists {given['catalog']}.bench")
    run(f"drop table if exists {given['catalog']}.bench.{name}")
    shutil.rmtree(os.path.join(given["lakeRoot"], name), ignore_errors=True)
    run(
        f"create table {given['catalog']}.bench.{name} with (format = 'PARQUET', external_location = 'local:///{name}')"
        f" as {given['extract']}"
    )
    run(f"drop table {given['catalog']}.bench.{name}")  # an external table: its files stay
    return os.path.join(given["lakeRoot"], name)


POSTGRES_TYPES = {"int64": "bigint", "int32": "integer", "double": "double precision", "string": "text", "date32[day]": "date"}


def load(connection, batches, schema, target):
    """COPY BINARY into a fresh table, then key, index and statistics."""
    table = target["table"]
    columns = ", ".join(f'"{field.name}" {POSTGRES_TYPES[str(field.type)]}' for field in schema)
    with connection.cursor() as cursor:
        cursor.execute(f"drop table if exists {table}")
        cursor.execute(f"create table {table} ({columns})")
        encoder = ArrowToPostgresBinaryEncoder(schema)
        with cursor.copy(f"copy {table} from stdin with (format binary)") as copy:
            copy.write(encoder.write_header())
            for batch in batches:
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        copied = time.perf_counter()
        cursor.execute(f"alter table {table} add primary key ({', '.join(target['key'])})")
        for index in target["indexes"]:
            cursor.execute(f"create index on {table} ({', '.join(index)})")
        cursor.execute(f"analyze {table}")
    connection.commit()
    return time.perf_counter() - copied


def main(given):
    times, last = {"imports": IMPORTED - BEGAN}, time.perf_counter()
    directory = unload(given)
    times["extract"], last = time.perf_counter() - last, time.perf_counter()
    context = datafusion.SessionContext(
        datafusion.SessionConfig().set("datafusion.execution.parquet.schema_force_view_types", "false")
    )
    context.register_parquet("lines", directory, file_extension="")  # Trino names its files without one
    with psycopg.connect(given["postgres"]) as connection:
        for target in given["targets"]:
            frame = context.sql(target["sql"])
            batches = (batch.to_pyarrow() for batch in frame.execute_stream())
            indexing = load(connection, batches, frame.schema(), target)
            times[target["name"]] = time.perf_counter() - last - indexing
            times[f"{target['name']}Indexes"], last = indexing, time.perf_counter()
    shutil.rmtree(directory)
    times["inner"] = time.perf_counter() - IMPORTED
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": times, "peakRssBytes": peak}))


with open(sys.argv[1]) as file:
    main(json.load(file))
