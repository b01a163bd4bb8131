"""Failures by the class that the job's caller acts on, read from what the engine raises."""

import errno
import re


class JobError(Exception):
    """A failure whose class the job's caller acts on: pool, disk, sql, io, engine."""

    def __init__(self, cls, message, **more):
        super().__init__(message)
        self.cls, self.message, self.more = cls, message, more


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
