#!/usr/bin/env python3
"""Runs one DataFusion job: job JSON file in, JSON lines on stdout out, rows to files or a FIFO.

The protocol is described in README.md; nothing in it depends on this file being Python.
Every path in a job is a path inside the container. Exit codes: 0 with a `done` line, 70 with an `error` line.
"""

import faulthandler
import itertools
import json
import os
import re
import shutil
import sys
import threading
import time

# The engine's allocator keeps freed pages for a while; giving them back at once took a spilling sort from 230 MB beyond its pool to 95.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
sys.path.insert(0, os.environ.get("SPILLWAY_WHEELS", "/opt/df"))

from arrow_types import plain_schema, type_name  # noqa: E402
from job_errors import JobError, classify  # noqa: E402
from outputs import AHEAD_BYTES, FRAME_BYTES, FRAME_ROWS, WriteAhead, open_sink  # noqa: E402
from statements import Planner  # noqa: E402

PROTOCOL = 2
SAMPLE_SECONDS = 0.1
# Seen once in thousands of jobs, when the memory pool was exhausted. Seconds, of time and of processor.
STALL_SECONDS, STALL_CPU_SECONDS = 120, 0.5
# Set for a second attempt, to the peak of the first.
AGAIN = "SPILLWAY_AGAIN"
SORT = re.compile(r"SortPreservingMerge|ExternalSorter")


def emit(event):
    # One write per line, so that lines of two threads never mix.
    sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- watching


class Watch(threading.Thread):
    """Samples our anonymous memory and the spill folder, and says once a second how far the job is."""

    def __init__(self, spill_dir, every_seconds, stall_seconds):
        super().__init__(daemon=True)
        self.spill_dir, self.every, self.stall = spill_dir, every_seconds, stall_seconds
        # True while rows are handed over: who waits for a reader or a disk is not stuck.
        self.handing_over = False
        self.plan, self.rows, self.bytes = None, 0, 0
        # Of plans that ended: a plan keeps what it joined with.
        self.sums = {"spill_count": 0, "spilled_bytes": 0, "output_rows": 0, "scanned_bytes": 0}
        # Of the output that is written; its rows, and the bytes on scratch beside those of outputs that are whole.
        self.handed_rows = self.file_bytes = self.whole_files_bytes = 0
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
        self.scratch_peak = max(self.scratch_peak, self.scratch_now())
        return rss

    def scratch_now(self):
        return self.spill_now + self.whole_files_bytes + self.file_bytes

    def metrics(self):
        sums = dict(self.sums)
        for _, found in self.plan.collect_metrics() if self.plan else []:
            sums["spill_count"] += found.spill_count or 0
            sums["spilled_bytes"] += found.spilled_bytes or 0
            sums["output_rows"] += found.output_rows or 0
            sums["scanned_bytes"] += found.sum_by_name("bytes_scanned") or 0
        return sums

    def ended(self):
        self.sums, self.plan = self.metrics(), None

    def run(self):
        told = time.monotonic()
        busy_at, busy = told, 0.0
        faulthandler.dump_traceback_later(self.stall, exit=True)
        while True:
            time.sleep(SAMPLE_SECONDS)
            rss = self.sample()
            # An engine whose threads wait for each other uses no processor; one that works on, however slowly, does.
            used = time.process_time() - time.thread_time()
            if used - busy > STALL_CPU_SECONDS or self.handing_over:
                busy_at, busy = time.monotonic(), used
            elif time.monotonic() - busy_at > self.stall:
                emit({"ev": "error", "cls": "engine", "message": f"the engine did nothing for {self.stall:g} s: its threads wait for each other"})
                os._exit(70)
            if time.monotonic() - told >= self.every:
                told = time.monotonic()
                # Another thread ends us, should one of the engine's hold the interpreter and wait: then this one does not run.
                faulthandler.dump_traceback_later(self.stall, exit=True)
                emit({
                    "ev": "progress", "seconds": round(told - self.began, 3), "rows": self.rows, "bytes": self.bytes,
                    "rss_anon": rss, "scratch_bytes": self.scratch_now(), **self.metrics(),
                })  # fmt: skip


# ---------------------------------------------------------------- the job


def pool_of(engine, whole_sorts):
    # One sort of all rows merges its spill files with buffers that nobody counts: 240 MB beyond a pool of 286 were seen.
    return engine["poolBytes"] // 2 if whole_sorts else engine["poolBytes"]


def context(d, engine, whole_sorts):
    config = (
        d.SessionConfig()
        .with_target_partitions(engine["partitions"])
        .with_batch_size(engine.get("batchRows", 8192))
        # Views make 8,192 sorted rows a batch of hundreds of megabytes, counted nowhere.
        .set("datafusion.execution.parquet.schema_force_view_types", "false")
        .set("datafusion.optimizer.prefer_hash_join", "true" if engine.get("hashJoin", True) else "false")
        .set("datafusion.optimizer.repartition_sorts", "false" if whole_sorts else "true")
    )
    runtime = (
        d.RuntimeEnvBuilder()
        .with_fair_spill_pool(pool_of(engine, whole_sorts))
        .with_disk_manager_specified(engine["spillDir"])
    )
    ctx = d.SessionContext(config, runtime)
    # Takes K, M and G only, and keeps pool and folder.
    ctx.sql(f"SET datafusion.runtime.max_temp_directory_size = '{max(1, engine['scratchBytes'] // 1024)}K'").collect()
    return ctx


def batches_of(df, partitions):
    """Starts the plan. Where it is of one partition, those of a union follow each other, so that rows of several files stay in their order."""
    return df.execute_stream() if partitions > 1 else itertools.chain.from_iterable(df.execute_stream_partitioned())


def plain_batches(pa, source, schema):
    for batch in source:
        batch = batch.to_pyarrow()
        if batch.schema != schema:
            same = batch.schema.types == schema.types
            batch = pa.RecordBatch.from_arrays(batch.columns, schema=schema) if same else batch.cast(schema)
        yield batch


def one_batch(pa, batches):
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def stream(pa, df, output, watch, engine):
    """Hands all rows of a plan over. Answers what is said of them at the end."""
    schema, bytes_before, watch.handed_rows = plain_schema(pa, df.schema()), watch.bytes, 0
    source = batches_of(df, engine["partitions"])
    watch.plan = df.execution_plan()
    counted = output.get("onScratch", True)
    sink = ahead = None

    def write(frames, size):
        watch.handing_over = True
        sink.write(frames)
        watch.handing_over = False
        rows = sum(frame.num_rows for frame, _ in frames)
        watch.rows, watch.bytes = watch.rows + rows, watch.bytes + size
        watch.handed_rows += rows
        watch.file_bytes = sink.size() if counted else 0
        if counted:
            within_scratch(watch, engine)

    try:
        watch.handing_over = True  # a FIFO waits for its reader
        sink = open_sink(pa, output, schema)
        watch.handing_over = False
        ahead = WriteAhead(write, engine.get("aheadBytes", AHEAD_BYTES))
        ahead.start()
        pending, rows, size = [], 0, 0
        for batch in plain_batches(pa, source, schema):
            pending.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= FRAME_ROWS or size >= FRAME_BYTES:
                ahead.write(one_batch(pa, pending), size)
                pending, rows, size = [], 0, 0
        if rows > 0:
            ahead.write(one_batch(pa, pending), size)
        ahead.end(write_all=True)
        watch.handing_over = True
        parts = sink.close()
        watch.handing_over = False
    except BaseException:
        if ahead:
            ahead.end(write_all=False)
        if sink:
            sink.discard()
        raise
    watch.whole_files_bytes, watch.file_bytes = watch.whole_files_bytes + watch.file_bytes, 0
    watch.ended()
    return {
        "rows": watch.handed_rows, "bytes": watch.bytes - bytes_before, "parts": parts,
        "schema": [{"name": f.name, "type": type_name(pa, f.type), "nullable": f.nullable} for f in schema],
    }  # fmt: skip


def within_scratch(watch, engine):
    if watch.scratch_now() > engine["scratchBytes"]:
        raise JobError("disk", f"output and spill passed the {engine['scratchBytes']} bytes of scratch that were lent")


def keep(pa, df, path, watch, engine):
    """Rows that several statements read: written once, beside the spill files, and mapped. So they are no memory of ours, and the kernel drops them when it must."""
    schema, watch.handed_rows = plain_schema(pa, df.schema()), 0
    source = batches_of(df, engine["partitions"])
    watch.plan = df.execution_plan()
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in plain_batches(pa, source, schema):
            watch.handing_over = True
            writer.write_batch(batch)
            watch.handing_over = False
            within_scratch(watch, engine)
    watch.ended()
    columns = [{"name": f.name, "type": type_name(pa, f.type), "nullable": f.nullable} for f in schema]
    return {"parts": [{"kind": "arrow", "path": path}], "columns": columns}


def attempt(d, pa, job, watch, whole_sorts):
    """Plans and runs the statements once. Raises a JobError; of a failed attempt the outputs are left that were whole before."""
    planner = None
    try:
        ctx = context(d, job["engine"], whole_sorts)
        planner = Planner(d, pa, ctx, job, lambda df, path: keep(pa, df, path, watch, job["engine"]))
        if "further" not in job:
            df = planner.query(job["query"]) if "query" in job else planner.alone(job["sql"])
            return stream(pa, df, job["output"], watch, job["engine"])

        def hand_over(query, output):
            df = planner.query(query)
            try:
                return {"step": query["step"], **stream(pa, df, output, watch, job["engine"])}
            except BaseException as error:
                raise planner.named(query, error) from error

        own = hand_over(job["query"], job["output"])
        return {**own, "further": [hand_over(one["query"], one["output"]) for one in job["further"]]}
    except BaseException as error:  # a panic of the engine is a BaseException
        raise classify(error, bool(planner and planner.planning)) from error


def crowded_out(failure, engine, watch):
    """
    Whether one sort of all rows may do where sorts by partition failed.

    A sort that may spill takes what is free of the pool; one that is done hands its rows to a merge that cannot spill, and that finds nothing left: with
    partitions of unlike size always, else by chance. Whoever sorts alone needs no such merge. Rows that a reader has cannot be taken back; files that are
    whole are written anew.
    """
    return failure.cls == "pool" and engine["partitions"] > 1 and watch.handed_rows == 0 and SORT.search(failure.more.get("failed") or "")


def attempts(d, pa, job, watch):
    if AGAIN in os.environ:
        watch.peak_rss_anon = int(os.environ[AGAIN])
        return attempt(d, pa, job, watch, True)
    try:
        return attempt(d, pa, job, watch, False)
    except JobError as failure:
        if not crowded_out(failure, job["engine"], watch):
            raise
        emit({"ev": "again", "because": failure.message})
    start_anew(job["engine"]["spillDir"], watch)


def start_anew(spill_dir, watch):
    """
    Becomes the same program again. What the first attempt had is not there any more, whatever the engine's allocator thinks of it: in one process
    both together passed a lease of 600 MB on some machines.
    """
    shutil.rmtree(spill_dir, ignore_errors=True)
    watch.sample()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, AGAIN: str(watch.peak_rss_anon)})


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
    watch = Watch(engine["spillDir"], job.get("progressMs", 1000) / 1000, job.get("stallMs", STALL_SECONDS * 1000) / 1000)
    emit({"ev": "started", "engine": "datafusion", "version": d.__version__, "pid": os.getpid()})
    watch.start()
    done = attempts(d, pa, job, watch)
    watch.sample()
    emit({
        "ev": "done", **done,
        **watch.metrics(), "peak_rss_anon": watch.peak_rss_anon, "scratch_peak": watch.scratch_peak,
        "pool_bytes": pool_of(engine, AGAIN in os.environ), "seconds": round(time.monotonic() - watch.began, 3),
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
