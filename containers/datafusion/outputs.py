"""Where a job's rows go: files under their final names, in memory first and then on disk, or a stream into a FIFO."""

import fcntl
import math
import os
import threading

from arrow_types import type_name
from job_errors import JobError

MIB = 1 << 20
# Tiny batches are gathered, since readers pay per frame; larger frames than the engine's own batches made the next sort spill four times as often.
FRAME_ROWS, FRAME_BYTES = 8192, 4 * MIB
AHEAD_BYTES = 2 * FRAME_BYTES
# Of a row group at most; at a million, groups of narrow rows cost a tenth of the writer's time.
GROUP_ROWS = 1 << 23


class FileSink:
    """Writes one part under a temporary name; it gets its own when every byte is on disk."""

    def __init__(self, pa, output, schema, number=0, kind=None):
        self.pa, self.kind, self.schema, self.rows = pa, kind or output["kind"], schema, 0
        name = f"{output['name']}-{number:05d}"
        self.final = os.path.join(output["dir"], f"{name}.{self.kind}")
        self.temporary = os.path.join(output["dir"], f".{name}.{self.kind}.tmp")
        # Arrow's own files: with Python's, each buffer of each batch waits for the interpreter, which the engine's rows wait for as well.
        self.raw = pa.OSFile(self.temporary, "wb")
        self.file = pa.BufferedOutputStream(self.raw, MIB)
        if self.kind == "arrow":
            self.writer = pa.ipc.new_file(self.file, schema)
        else:
            import pyarrow.parquet as pq

            self.writer = pq.ParquetWriter(self.file, schema, compression="zstd", compression_level=1)
            # A row group is one decoded frame held in memory, so small leases ask for small ones.
            self.group_bytes = output["rowGroupBytes"]
            self.group, self.gathered_rows, self.gathered_bytes = [], 0, 0

    def write(self, frames):
        self.rows += sum(batch.num_rows for batch, _ in frames)
        if self.kind == "arrow":
            self.writer.write_table(self.pa.Table.from_batches([batch for batch, _ in frames], self.schema))
            return
        for batch, size in frames:
            self.group.append(batch)
            self.gathered_rows, self.gathered_bytes = self.gathered_rows + batch.num_rows, self.gathered_bytes + size
            if self.gathered_rows >= GROUP_ROWS or self.gathered_bytes >= self.group_bytes:
                self.write_group()

    def write_group(self):
        if self.group:
            self.writer.write_table(self.pa.Table.from_batches(self.group, self.schema), row_group_size=self.gathered_rows)
        self.group, self.gathered_rows, self.gathered_bytes = [], 0, 0

    def size(self):
        return self.file.tell()

    def close(self):
        if self.kind == "parquet":
            self.write_group()
        self.writer.close()
        self.file.flush()
        os.fsync(self.raw.fileno())
        self.file.close()
        os.rename(self.temporary, self.final)
        folder = os.open(os.path.dirname(self.final), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return {"kind": self.kind, "file": os.path.basename(self.final), "rows": self.rows, "bytes": os.path.getsize(self.final)}

    def discard(self):
        for path in (self.temporary, self.final):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass


def columns_of(fields):
    """Columns, and columns within columns."""
    return sum(1 + columns_of([of.field(i) for i in range(of.num_fields)]) for of in (field.type for field in fields))


def unfit_for_parquet(pa, schema):
    """Names of the columns whose type Parquet does not have."""
    import pyarrow.parquet as pq

    def fits(fields):
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), fields).close()
            return True
        except pa.ArrowNotImplementedError:
            return False

    return [] if fits(schema) else [f"{field.name} ({type_name(pa, field.type)})" for field in schema if not fits(pa.schema([field]))]


class FilesSink:
    """
    Writes into memory as far as that was lent, what comes after to Arrow files on disk, and to Parquet what is past the size of which Arrow is kept: a file
    ends between two batches, so that each is whole.
    """

    # The end of a file: its schema, and where each batch lies.
    FOOTER = 256 * 1024
    # Of a batch in a file at most, beside its buffers: 16 bytes for each of a column's buffers and for the column, and 64 to align each of three buffers.
    FRAME_OVERHEAD, COLUMN_OVERHEAD = 1024, 256

    def __init__(self, pa, output, schema):
        self.pa, self.output, self.schema = pa, output, schema
        self.parts, self.on_disk, self.in_arrow = [], 0, 0
        self.in_memory = "memory" in output
        self.parquet_past = output.get("parquetPastBytes", math.inf)
        self.frame_overhead = self.FRAME_OVERHEAD + self.COLUMN_OVERHEAD * columns_of(schema)
        if output["kind"] == "parquet" and (unfit := unfit_for_parquet(pa, schema)):
            raise JobError("sql", f"Cast what no Parquet file holds, for example to a text: {', '.join(unfit)}")
        self.now = FileSink(pa, {**output, "dir": output["memory"]["dir"]} if self.in_memory else output, schema)

    def write(self, frames):
        # Their exact size is asked for where it may matter only: each question gives the interpreter away, and the engine's rows wait for it as well.
        if self.now.kind != "arrow" or self.have_room(sum(2 * size + self.frame_overhead for _, size in frames)):
            self.now.write(frames)
            return
        for batch, size in frames:
            in_file = self.pa.ipc.get_record_batch_size(batch) if self.now.kind == "arrow" else 0
            if self.in_memory and not self.memory_has_room(in_file):
                self.move_on("arrow")
            if self.now.kind == "arrow" and not self.arrow_has_room(in_file):
                if unfit_for_parquet(self.pa, self.schema):
                    self.parquet_past = math.inf
                else:
                    self.move_on("parquet")
            self.now.write([(batch, size)])

    def have_room(self, size):
        return self.arrow_has_room(size) and (not self.in_memory or self.memory_has_room(size))

    def memory_has_room(self, size):
        return self.now.size() + size + self.FOOTER <= self.output["memory"]["bytes"]

    def arrow_has_room(self, size):
        return self.in_arrow + self.now.size() + size <= self.parquet_past

    def move_on(self, kind):
        # A part without rows is no use to its readers; an output without rows keeps one all the same.
        if self.now.rows > 0:
            self.end_part()
        else:
            self.now.discard()
        self.in_memory = False
        self.now = FileSink(self.pa, self.output, self.schema, len(self.parts), kind)

    def end_part(self):
        self.parts.append({**self.now.close(), **({"inMemory": True} if self.in_memory else {})})
        self.in_arrow += self.parts[-1]["bytes"] if self.now.kind == "arrow" else 0
        self.on_disk += 0 if self.in_memory else self.parts[-1]["bytes"]

    def size(self):
        return self.on_disk + (0 if self.in_memory else self.now.size())

    def close(self):
        self.end_part()
        return self.parts

    def discard(self):
        self.now.discard()
        for part in self.parts:
            folder = self.output["memory"]["dir"] if part.get("inMemory") else self.output["dir"]
            try:
                os.unlink(os.path.join(folder, part["file"]))
            except FileNotFoundError:
                pass


class FifoSink:
    """Streams to a reader that is there at the same time; opening waits for it."""

    def __init__(self, pa, output, schema):
        self.pa, self.schema = pa, schema
        if not os.path.exists(output["path"]):
            os.mkfifo(output["path"], 0o600)
        self.file = open(output["path"], "wb", buffering=MIB)
        try:
            fcntl.fcntl(self.file.fileno(), 1031, MIB)  # F_SETPIPE_SZ: the default 64 KiB costs a switch every frame
        except OSError:
            pass  # over the user's pipe limit: slower, not wrong
        self.writer = pa.ipc.new_stream(self.file, schema)

    def write(self, frames):
        self.writer.write_table(self.pa.Table.from_batches([batch for batch, _ in frames], self.schema))

    def size(self):
        return 0

    def close(self):
        self.writer.close()
        self.file.close()
        return []

    def discard(self):
        pass


def open_sink(pa, output, schema):
    return (FifoSink if output["kind"] == "fifo" else FilesSink)(pa, output, schema)


class WriteAhead(threading.Thread):
    """
    Writes what it is handed in a thread of its own, so that the engine makes the next rows meanwhile. As many frames wait as fit into `ahead_bytes`, with
    those that are being written. Some are written at once, since a writer has to wait for the interpreter each time: as large a piece as a frame may be, and
    no more than half of what may wait. What was lent is looked at between pieces.
    """

    def __init__(self, write, ahead_bytes=AHEAD_BYTES):
        super().__init__(daemon=True)
        self.ahead_bytes = ahead_bytes
        self.do_write, self.frames, self.waiting, self.ended, self.failure = write, [], 0, False, None
        self.turn = threading.Condition()

    def write(self, frame, size):
        """Takes a frame, once there is room. Raises what an earlier one failed with."""
        with self.turn:
            self.turn.wait_for(lambda: self.failure or self.waiting == 0 or self.waiting + size <= self.ahead_bytes)
            if self.failure:
                raise self.failure
            self.frames.append((frame, size))
            self.waiting += size
            self.turn.notify_all()

    def end(self, write_all):
        """Waits for what it has in hand, and for what waits as well. Raises what a frame failed with."""
        with self.turn:
            self.ended = True
            if not write_all:
                self.frames = []
            self.turn.notify_all()
        self.join()
        if self.failure and write_all:
            raise self.failure

    def run(self):
        while True:
            with self.turn:
                self.turn.wait_for(lambda: self.frames or self.ended)
                if not self.frames:
                    return
                frames, size = self.take()
            try:
                self.do_write(frames, size)
            except BaseException as failure:
                with self.turn:
                    self.failure, self.frames = failure, []
                    self.turn.notify_all()
                return
            del frames  # before the next are waited for: they count until then
            with self.turn:
                self.waiting -= size
                self.turn.notify_all()

    def take(self):
        """The next frame, and those after it as far as they fit; and their bytes."""
        size, end, most = self.frames[0][1], 1, min(FRAME_BYTES, self.ahead_bytes // 2)
        while end < len(self.frames) and size + self.frames[end][1] <= most:
            size, end = size + self.frames[end][1], end + 1
        taken, self.frames = self.frames[:end], self.frames[end:]
        return taken, size
