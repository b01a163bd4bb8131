"""Where a job's rows go: files under their final names, in memory first and then on disk, or a stream into a FIFO."""

import fcntl
import os

MIB = 1 << 20
# Tiny batches are gathered, since readers pay per frame; larger frames than the engine's own batches made the next sort spill four times as often.
FRAME_ROWS, FRAME_BYTES = 8192, 4 * MIB


class FileSink:
    """Writes one part under a temporary name; it gets its own when every byte is on disk."""

    def __init__(self, pa, output, schema, number=0):
        self.pa, self.kind, self.schema = pa, output["kind"], schema
        name = f"{output['name']}-{number:05d}"
        self.final = os.path.join(output["dir"], f"{name}.{self.kind}")
        self.temporary = os.path.join(output["dir"], f".{name}.{self.kind}.tmp")
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


class MemoryFirstSink:
    """Writes into memory as far as that was lent, and what comes after to disk: between two batches, so that both files are whole."""

    frame_rows, frame_bytes = FRAME_ROWS, FRAME_BYTES
    # The end of a file: its schema, and where each batch lies.
    FOOTER = 256 * 1024

    def __init__(self, pa, output, schema):
        self.pa, self.output, self.schema = pa, output, schema
        self.memory = FileSink(pa, {**output, "dir": output["memory"]["dir"]}, schema)
        self.disk, self.parts, self.rows = None, [], 0

    def write(self, table):
        for batch in table.combine_chunks().to_batches():
            if not self.disk and self.memory.size() + self.pa.ipc.get_record_batch_size(batch) + self.FOOTER > self.output["memory"]["bytes"]:
                self.move_on()
            (self.disk or self.memory).writer.write_batch(batch)
            self.rows += batch.num_rows

    def move_on(self):
        if self.rows > 0:
            self.parts += [{**part, "inMemory": True} for part in self.memory.close(self.rows)]
        else:
            self.memory.discard()
        self.disk = FileSink(self.pa, self.output, self.schema, len(self.parts))

    def size(self):
        return self.disk.size() if self.disk else 0

    def close(self, rows):
        if self.disk:
            return self.parts + self.disk.close(rows - sum(part["rows"] for part in self.parts))
        return [{**part, "inMemory": True} for part in self.memory.close(rows)]

    def discard(self):
        for sink in (self.memory, self.disk):
            if sink:
                sink.discard()


def open_sink(pa, output, schema):
    if output["kind"] == "fifo":
        return FifoSink(pa, output, schema)
    return MemoryFirstSink(pa, output, schema) if "memory" in output else FileSink(pa, output, schema)


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
