"""Tables made of exactly the listed files."""

import os

from arrow_types import parse_type, plain_schema


def open_arrow(pa, path):
    """Record batches of an IPC file or stream, mapped: pages stay the file's and are not charged to us."""
    source = pa.memory_map(path, "r")
    if source.size() >= 6 and source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        return reader.schema, [reader.get_batch(i) for i in range(reader.num_record_batches)]
    source.seek(0)
    reader = pa.ipc.open_stream(source)
    return reader.schema, list(reader)


def link_all(link_root, paths, ending):
    """The engine lists a folder, never a list of files; a folder of links is that list."""
    links = os.path.join(link_root, f"{len(os.listdir(link_root)):04d}")
    os.mkdir(links)
    for index, path in enumerate(paths):
        os.symlink(path, os.path.join(links, f"{index:06d}.{ending}"))
    return links


def texts(pa, path, header, delimiter):
    """A schema of the columns that a CSV file has, all of them texts."""
    import pyarrow.csv

    read = pyarrow.csv.ReadOptions(autogenerate_column_names=not header)
    with pyarrow.csv.open_csv(path, read_options=read, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter)) as file:
        names = file.schema.names
    # As the engine names columns without a header.
    return pa.schema([pa.field(name if header else f"column_{i + 1}", pa.string()) for i, name in enumerate(names)])


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

        links = link_all(link_root, parquet, "parquet")
        # Stated, because a file may carry an Arrow schema of its own that asks for views, and those of one table are of one type, whatever Parquet makes of it.
        schema = plain_schema(pa, schema if arrow else pq.read_schema(parquet[0]).remove_metadata())
        frames.append(f"{name}__parquet" if both else name)
        ctx.register_parquet(frames[-1], links, schema=schema)
    csv = [part["path"] for part in table["parts"] if part["kind"] == "csv"]
    if csv:
        said = table.get("csv") or {}
        header, delimiter = said.get("header", True), said.get("delimiter", ",")
        links = link_all(link_root, csv, "csv")
        schema = texts(pa, csv[0], header, delimiter) if said.get("types") == "text" else None
        frames.append(name)
        ctx.register_csv(name, links, schema=schema, has_header=header, delimiter=delimiter, schema_infer_max_records=10_000)
    if not frames:
        schema = pa.schema([pa.field(c["name"], parse_type(pa, c["type"]), c["nullable"]) for c in table["columns"]])
        empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
        ctx.register_record_batches(name, [[empty]])
    if both:
        ctx.register_view(name, ctx.table(frames[0]).union(ctx.table(frames[1])))
