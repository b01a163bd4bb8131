#!/usr/bin/env python3
"""Runs one DataFusion job: job JSON file in, JSON lines on stdout out, rows to files or a FIFO.

The protocol is described in README.md; nothing in it depends on this file being Python.
Every path in a job is a path inside the container. Exit codes: 0 with a `done` line, 70 with an `error` line.
"""

import errno
import fcntl
import json
import os
import re
import sys
import threading
import time

# The engine's allocator keeps freed pages for a while; giving them back at once took a spilling sort from 230 MB beyond its pool to 95.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
sys.path.insert(0, os.environ.get("SPILLWAY_WHEELS", "/opt/df"))

MIB = 1 << 20
PROTOCOL = 1
# Tiny batches are gathered, since readers pay per frame; larger frames than the engine's own batches made the next sort spill four times as often.
FRAME_ROWS, FRAME_BYTES = 8192, 4 * MIB
SAMPLE_SECONDS = 0.1


def emit(event):
    # One write per line, so that lines of two threads never mix.
    sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
    sys.stdout.flush()


class JobError(Exception):
    """A failure whose class the job's caller acts on: pool, disk, sql, io, engine."""

    def __init__(self, cls, message, **more):
        super().__init__(message)
        self.cls, self.message, self.more = cls, message, more


# ---------------------------------------------------------------- errors

DISK = re.compile(r"used disk space during the spilling process|No space left on device|os error 28|Errno 28")
POOL = re.compile(r"Resources exhausted|Not enough memory to continue")
FAILED = re.compile(r"Failed to allocate additional .*?(?= with \d| - |\n|$)")
CONSUMER = re.compile(r"^\s*(\S+#\d+\(can spill: \w+\) consumed .*)$", re.M)
# Faults of the statement over these rows: the same statement over the same rows ends the same way.
STATEMENT = re.compile(
    r"Arrow error: (Divide by zero|Cast error|Compute error|Arithmetic overflow|Parser error|Invalid argument)"
    r"|Error during planning|Schema error|SQL error|This feature is not implemented"
)
PREFIX = re.compile(r"^(?:DataFusion error: |External error: |Error: |Execution error: )+")


def first_line(text):
    for line in text.splitlines():
        line = PREFIX.sub("", line.strip())
        if line:
            return line[:500]
    return "no message"


def classify(error, planning):
    """A JobError for anything the engine raised. Order matters: disk and pool texts also occur while planning."""
    if isinstance(error, JobError):
        return error
    text = str(error) or type(error).__name__
    if DISK.search(text) or getattr(error, "errno", None) == errno.ENOSPC:
        return JobError("disk", first_line(text))
    if POOL.search(text) or isinstance(error, MemoryError):
        failed = FAILED.search(text)
        pool = re.search(r"(?:fair|greedy)\(pool_size: [^)]*\)|\d[\d.]* \w+ remain available[^\n]*", text)
        line = failed.group(0) if failed else first_line(text)
        return JobError(
            "pool",
            f"{line}; {pool.group(0)}" if pool else line,
            failed=line,
            consumers=[found.strip().rstrip(",.") for found in CONSUMER.findall(text)][:5],
        )
    if planning or STATEMENT.search(text):
        return JobError("sql", first_line(text))
    if isinstance(error, OSError) or "Object Store error" in text or "Io error" in text:
        return JobError("io", first_line(text))
    return JobError("engine", first_line(text))


# ---------------------------------------------------------------- types

UNITS = {"s": "SECOND", "ms": "MILLISECOND", "us": "MICROSECOND", "ns": "NANOSECOND"}
PLAIN = {
    "Null": "null", "Bool": "bool_", "Utf8": "string", "LargeUtf8": "large_string", "Binary": "binary",
    "LargeBinary": "large_binary", "Date32<DAY>": "date32", "Date64<MILLISECOND>": "date64",
    "Float16": "float16", "Float32": "float32", "Float64": "float64",
    **{f"{sign}nt{bits}": f"{sign.lower()}nt{bits}" for sign in ("I", "Ui") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def type_name(pa, t):
    """Arrow type in the notation of the protocol (that of Arrow's JavaScript library)."""
    is_, name = pa.types, type_name
    for text, factory in PLAIN.items():
        if t == getattr(pa, factory)():
            return text
    if is_.is_decimal(t):
        return f"Decimal[{t.precision}e{'+' if t.scale > 0 else ''}{t.scale}]"
    if is_.is_timestamp(t):
        return f"Timestamp<{UNITS[t.unit]}{', ' + t.tz if t.tz else ''}>"
    if is_.is_time(t):
        return f"Time{t.bit_width}<{UNITS[t.unit]}>"
    if is_.is_duration(t):
        return f"Duration<{UNITS[t.unit]}>"
    if is_.is_interval(t):
        return "Interval<MONTH_DAY_NANO>"
    if is_.is_fixed_size_binary(t):
        return f"FixedSizeBinary[{t.byte_width}]"
    if is_.is_dictionary(t):
        return f"Dictionary<{name(pa, t.index_type)}, {name(pa, t.value_type)}>"
    if is_.is_fixed_size_list(t):
        return f"FixedSizeList[{t.list_size}]<{name(pa, t.value_type)}>"
    if is_.is_list(t) or is_.is_large_list(t):
        return f"List<{name(pa, t.value_type)}>"
    if is_.is_map(t):
        return f"Map<{{key:{name(pa, t.key_type)}, value:{name(pa, t.item_type)}}}>"
    if is_.is_struct(t):
        return "Struct<{" + ", ".join(f"{f.name}:{name(pa, f.type)}" for f in t) + "}>"
    return str(t)


def parse_type(pa, text):
    """Reads the notation back, for tables without a single file. Nested types are refused by name."""
    if text in PLAIN:
        return getattr(pa, PLAIN[text])()
    units = {long: short for short, long in UNITS.items()}
    if found := re.fullmatch(r"Decimal\[(\d+)e([+-]?\d+)\]", text):
        precision, scale = int(found[1]), int(found[2])
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    if found := re.fullmatch(r"Timestamp<(\w+)(?:, (.+))?>", text):
        return pa.timestamp(units[found[1]], found[2])
    if found := re.fullmatch(r"Time(32|64)<(\w+)>", text):
        return (pa.time32 if found[1] == "32" else pa.time64)(units[found[2]])
    if found := re.fullmatch(r"Duration<(\w+)>", text):
        return pa.duration(units[found[1]])
    if found := re.fullmatch(r"FixedSizeBinary\[(\d+)\]", text):
        return pa.binary(int(found[1]))
    raise JobError("io", f"an empty input has a column of type {text}; write it with one empty part that carries its schema")


def without_views(pa, t):
    """The type with every string_view and binary_view replaced: a view keeps whole source buffers alive."""
    is_ = pa.types
    if t == pa.string_view():
        return pa.string()
    if t == pa.binary_view():
        return pa.binary()
    if is_.is_struct(t):
        return pa.struct([f.with_type(without_views(pa, f.type)) for f in t])
    if is_.is_fixed_size_list(t):
        return pa.list_(t.value_field.with_type(without_views(pa, t.value_type)), t.list_size)
    if is_.is_list(t):
        return pa.list_(t.value_field.with_type(without_views(pa, t.value_type)))
    if is_.is_dictionary(t):
        return pa.dictionary(t.index_type, without_views(pa, t.value_type), t.ordered)
    return t


def plain_schema(pa, schema):
    return pa.schema([f.with_type(without_views(pa, f.type)) for f in schema])


# ---------------------------------------------------------------- inputs


def open_arrow(pa, path):
    """Record batches of an IPC file or stream, mapped: pages stay the file's and are not charged to us."""
    source = pa.memory_map(path, "r")
    if source.size() >= 6 and source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        return reader.schema, [reader.get_batch(i) for i in range(reader.num_record_batches)]
    source.seek(0)
    reader = pa.ipc.open_stream(source)
    return reader.schema, list(reader)


def register(pa, ctx, table, link_root, partitions):
    """Makes one table of exactly the listed files, whatever else lies in their folders."""
    name, frames = table["name"], []
    arrow = [part["path"] for part in table["parts"] if part["kind"] == "arrow"]
    parquet = [part["path"] for part in table["parts"] if part["kind"] == "parquet"]
    both = bool(arrow) and bool(parquet)
    if arrow:
        schema, batches = None, []
        for path in arrow:
            own, found = open_arrow(pa, path)
            schema = schema or own
            batches += found
        batches = batches or [pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)]
        split = [batches[i::partitions] for i in range(min(partitions, len(batches)))]
        frames.append(f"{name}__arrow" if both else name)
        ctx.register_record_batches(frames[-1], split)
    if parquet:
        import pyarrow.parquet as pq

        # The engine lists a folder, never a list of files; a folder of links is that list.
        links = os.path.join(link_root, f"{len(os.listdir(link_root)):04d}")
        os.mkdir(links)
        for index, path in enumerate(parquet):
            os.symlink(path, os.path.join(links, f"{index:06d}.parquet"))
        # Stated, because a file may carry an Arrow schema of its own that asks for views.
        schema = plain_schema(pa, pq.read_schema(parquet[0]).remove_metadata())
        frames.append(f"{name}__parquet" if both else name)
        ctx.register_parquet(frames[-1], links, schema=schema)
    if not frames:
        schema = pa.schema([pa.field(c["name"], parse_type(pa, c["type"]), c["nullable"]) for c in table["columns"]])
        empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
        ctx.register_record_batches(name, [[empty]])
    if both:
        ctx.register_view(name, ctx.table(frames[0]).union(ctx.table(frames[1])))


# ---------------------------------------------------------------- statement

COMMENT = re.compile(r"--[^\n]*\n?|/\*.*?\*/", re.S)


def guard(sql):
    """Refuses what is not one query before the engine sees it; the engine refuses the rest."""
    bare = COMMENT.sub(" ", sql).strip().lstrip("(").lstrip()
    word = re.match(r"[A-Za-z]+", bare)
    if not word or word.group(0).upper() not in ("SELECT", "WITH"):
        shown = word.group(0).upper() if word else bare[:20]
        raise JobError("sql", f"a step takes one SELECT or WITH statement, this one starts with {shown!r}")


def plan(d, ctx, sql):
    guard(sql)
    options = d.SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
    return ctx.sql_with_options(sql, options)


# ---------------------------------------------------------------- outputs


class FileSink:
    """Writes one part under a temporary name; it gets its own when every byte is on disk."""

    def __init__(self, pa, output, schema):
        self.pa, self.kind, self.schema = pa, output["kind"], schema
        self.final = os.path.join(output["dir"], f"{output['name']}.{self.kind}")
        self.temporary = os.path.join(output["dir"], f".{output['name']}.{self.kind}.tmp")
        self.file = open(self.temporary, "wb", buffering=MIB)
        if self.kind == "arrow":
            self.writer = pa.ipc.new_file(self.file, schema)
            self.frame_rows, self.frame_bytes = FRAME_ROWS, FRAME_BYTES
        else:
            import pyarrow.parquet as pq

            self.writer = pq.ParquetWriter(self.file, schema, compression="zstd", compression_level=1)
            # A row group is one decoded frame held in memory, so small leases ask for small ones.
            self.frame_rows, self.frame_bytes = output.get("rowGroupRows", 1 << 20), output["rowGroupBytes"]

    def write(self, table):
        if self.kind == "arrow":
            for batch in table.combine_chunks().to_batches():
                self.writer.write_batch(batch)
        else:
            self.writer.write_table(table, row_group_size=max(1, table.num_rows))

    def size(self):
        return self.file.tell()

    def close(self, rows):
        self.writer.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.rename(self.temporary, self.final)
        folder = os.open(os.path.dirname(self.final), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        part = {"kind": self.kind, "file": os.path.basename(self.final), "rows": rows, "bytes": os.path.getsize(self.final)}
        return [part]

    def discard(self):
        for path in (self.temporary, self.final):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass


class FifoSink:
    """Streams to a reader that is there at the same time; opening waits for it."""

    frame_rows, frame_bytes = FRAME_ROWS, FRAME_BYTES

    def __init__(self, pa, output, schema):
        if not os.path.exists(output["path"]):
            os.mkfifo(output["path"], 0o600)
        self.file, self.written = open(output["path"], "wb", buffering=MIB), 0
        try:
            fcntl.fcntl(self.file.fileno(), 1031, MIB)  # F_SETPIPE_SZ: the default 64 KiB costs a switch every frame
        except OSError:
            pass  # over the user's pipe limit: slower, not wrong
        self.writer = pa.ipc.new_stream(self.file, schema)

    def write(self, table):
        for batch in table.combine_chunks().to_batches():
            self.writer.write_batch(batch)

    def size(self):
        return 0

    def close(self, rows):
        self.writer.close()
        self.file.close()
        return []

    def discard(self):
        pass


# ---------------------------------------------------------------- watching


class Watch(threading.Thread):
    """Samples our anonymous memory and the spill folder, and says once a second how far the job is."""

    def __init__(self, spill_dir, every_seconds):
        super().__init__(daemon=True)
        self.spill_dir, self.every = spill_dir, every_seconds
        self.plan, self.rows, self.bytes, self.file_bytes = None, 0, 0, 0
        self.spill_now = self.scratch_peak = self.peak_rss_anon = 0
        self.began = time.monotonic()

    def sample(self):
        with open("/proc/self/status") as status:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read())
        rss = int(found[1]) * 1024 if found else 0
        self.peak_rss_anon = max(self.peak_rss_anon, rss)
        total = 0
        for root, _, files in os.walk(self.spill_dir):
            for name in files:
                try:
                    total += os.stat(os.path.join(root, name)).st_size
                except OSError:
                    pass  # merged away meanwhile
        self.spill_now = total
        self.scratch_peak = max(self.scratch_peak, total + self.file_bytes)
        return rss

    def metrics(self):
        sums = {"spill_count": 0, "spilled_bytes": 0, "output_rows": 0, "scanned_bytes": 0}
        for _, found in self.plan.collect_metrics() if self.plan else []:
            sums["spill_count"] += found.spill_count or 0
            sums["spilled_bytes"] += found.spilled_bytes or 0
            sums["output_rows"] += found.output_rows or 0
            sums["scanned_bytes"] += found.sum_by_name("bytes_scanned") or 0
        return sums

    def run(self):
        told = time.monotonic()
        while True:
            time.sleep(SAMPLE_SECONDS)
            rss = self.sample()
            if time.monotonic() - told >= self.every:
                told = time.monotonic()
                emit({
                    "ev": "progress", "seconds": round(told - self.began, 3), "rows": self.rows, "bytes": self.bytes,
                    "rss_anon": rss, "scratch_bytes": self.spill_now + self.file_bytes, **self.metrics(),
                })  # fmt: skip


# ---------------------------------------------------------------- the job


def context(d, engine):
    config = (
        d.SessionConfig()
        .with_target_partitions(engine["partitions"])
        .with_batch_size(engine.get("batchRows", 8192))
        # Views make 8,192 sorted rows a batch of hundreds of megabytes, counted nowhere.
        .set("datafusion.execution.parquet.schema_force_view_types", "false")
        .set("datafusion.optimizer.prefer_hash_join", "true" if engine.get("hashJoin", True) else "false")
    )
    runtime = (
        d.RuntimeEnvBuilder()
        .with_fair_spill_pool(engine["poolBytes"])
        .with_disk_manager_specified(engine["spillDir"])
    )
    ctx = d.SessionContext(config, runtime)
    # Takes K, M and G only, and keeps pool and folder.
    ctx.sql(f"SET datafusion.runtime.max_temp_directory_size = '{max(1, engine['scratchBytes'] // 1024)}K'").collect()
    return ctx


def stream(pa, df, output, watch, scratch_bytes):
    schema = plain_schema(pa, df.schema())
    source = df.execute_stream()
    watch.plan = df.execution_plan()
    sink = None
    try:
        sink = FifoSink(pa, output, schema) if output["kind"] == "fifo" else FileSink(pa, output, schema)
        counted = output.get("onScratch", True)
        pending, rows, size = [], 0, 0

        def flush():
            nonlocal pending, rows, size
            if rows == 0:
                return
            sink.write(pa.Table.from_batches(pending, schema))
            watch.rows, watch.bytes = watch.rows + rows, watch.bytes + size
            watch.file_bytes = sink.size() if counted else 0
            pending, rows, size = [], 0, 0
            if counted and watch.file_bytes + watch.spill_now > scratch_bytes:
                raise JobError("disk", f"output and spill passed the {scratch_bytes} bytes of scratch that were lent")

        for batch in source:
            batch = batch.to_pyarrow()
            if batch.schema.types != schema.types:
                batch = batch.cast(schema)
            elif batch.schema != schema:
                batch = pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            pending.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= sink.frame_rows or size >= sink.frame_bytes:
                flush()
        flush()
        return schema, sink.close(watch.rows)
    except BaseException:
        if sink:
            sink.discard()
        raise


def main(path):
    with open(path) as file:
        job = json.load(file)
    if job.get("protocol") != PROTOCOL:
        raise JobError("io", f"the job speaks protocol {job.get('protocol')}, this image {PROTOCOL}: build the image anew")
    import datafusion as d
    import pyarrow as pa
    import pyarrow.ipc

    engine = job["engine"]
    for folder in (engine["spillDir"], job["linkDir"]):
        os.makedirs(folder, exist_ok=True)
    watch = Watch(engine["spillDir"], job.get("progressMs", 1000) / 1000)
    emit({"ev": "started", "engine": "datafusion", "version": d.__version__, "pid": os.getpid()})
    watch.start()
    planning = False
    try:
        ctx = context(d, engine)
        for table in job["tables"]:
            register(pa, ctx, table, job["linkDir"], engine["partitions"])
        planning = True
        df = plan(d, ctx, job["sql"])
        planning = False
        schema, parts = stream(pa, df, job["output"], watch, engine["scratchBytes"])
    except BaseException as error:  # a panic of the engine is a BaseException
        raise classify(error, planning) from error
    watch.sample()
    emit({
        "ev": "done", "rows": watch.rows, "bytes": watch.bytes, "parts": parts,
        "schema": [{"name": f.name, "type": type_name(pa, f.type), "nullable": f.nullable} for f in schema],
        **watch.metrics(), "peak_rss_anon": watch.peak_rss_anon, "scratch_peak": watch.scratch_peak,
        "seconds": round(time.monotonic() - watch.began, 3),
    })  # fmt: skip


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException as error:
        failure = classify(error, False)
        emit({"ev": "error", "cls": failure.cls, "message": failure.message, **failure.more})
        # Not sys.exit: engine threads may still hold locks that a tidy shutdown would wait for.
        os._exit(70)
    os._exit(0)
