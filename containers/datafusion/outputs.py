"""Where a job's rows go: one file under its final name, or a stream into a FIFO."""

import fcntl
import os

MIB = 1 << 20
# Tiny batches are gathered, since readers pay per frame; larger frames than the engine's own batches made the next sort spill four times as often.
FRAME_ROWS, FRAME_BYTES = 8192, 4 * MIB


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
