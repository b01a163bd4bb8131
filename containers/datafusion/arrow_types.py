"""Arrow types in the notation of the protocol, and schemas without views and dictionaries."""

import re

from job_errors import JobError

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


def plain_type(pa, t):
    """
    The type with every view and dictionary in it replaced. A view keeps whole source buffers alive; a file holds one dictionary for a column, and the engine
    makes another one for each batch.
    """
    is_ = pa.types
    if t == pa.string_view():
        return pa.string()
    if t == pa.binary_view():
        return pa.binary()
    if is_.is_dictionary(t):
        return plain_type(pa, t.value_type)
    if is_.is_struct(t):
        return pa.struct([plain_field(pa, f) for f in t])
    if is_.is_map(t):
        return pa.map_(plain_field(pa, t.key_field), plain_field(pa, t.item_field), t.keys_sorted)
    if is_.is_fixed_size_list(t):
        return pa.list_(plain_field(pa, t.value_field), t.list_size)
    if is_.is_large_list(t):
        return pa.large_list(plain_field(pa, t.value_field))
    if is_.is_list(t):
        return pa.list_(plain_field(pa, t.value_field))
    return t


def plain_field(pa, field):
    return field.with_type(plain_type(pa, field.type))


def plain_schema(pa, schema):
    return pa.schema([plain_field(pa, f) for f in schema])
