"""From statements, and the tables that they name, to plans."""

import os
import re

from inputs import register
from job_errors import JobError, classify

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


def read_by_several(queries):
    """Steps within statements that more than one table stands for. What only they read is computed once all the same."""
    tables = {}

    def look(query):
        for name, source in query["from"].items():
            if not isinstance(source, str):
                tables.setdefault(source["step"], set()).add((query["step"], name))
                look(source)

    for query in queries:
        look(query)
    return {step for step, of in tables.items() if len(of) > 1}


class Planner:
    """Plans statements over others as one. Each sees its own tables only: a plan keeps its tables when their names go."""

    def __init__(self, d, pa, ctx, job, keep):
        """`keep` writes the rows of a plan to a path, and answers the table that they are."""
        self.d, self.pa, self.ctx, self.job, self.keep = d, pa, ctx, job, keep
        self.tables = {table["name"]: table for table in job["tables"]}
        further = [one["query"] for one in job.get("further", [])]
        self.shared = read_by_several([*([job["query"]] if "query" in job else []), *further])
        self.kept = {}
        self.planning = False

    def open_table(self, table, name):
        register(self.pa, self.ctx, {**table, "name": name}, self.job["linkDir"], self.job["engine"]["partitions"])

    def statement(self, sql):
        self.planning = True
        df = plan(self.d, self.ctx, sql)
        self.planning = False
        return df

    def alone(self, sql):
        for name, table in self.tables.items():
            self.open_table(table, name)
        return self.statement(sql)

    def query(self, query):
        inner = {name: self.source(source) for name, source in query["from"].items() if not isinstance(source, str)}
        for name in query["from"]:
            if name not in inner:
                self.open_table(self.tables[f"{query['step']}.{name}"], name)
            elif isinstance(inner[name], dict):
                self.open_table(inner[name], name)
            else:
                self.ctx.register_view(name, inner[name])
        try:
            return self.statement(query["sql"])
        except BaseException as error:
            raise self.named(query, error) from error
        finally:
            for name in list(self.ctx.catalog().schema().names()):
                self.ctx.deregister_table(name)

    def source(self, query):
        """A plan, or the rows of one where several tables stand for it."""
        step = query["step"]
        if step not in self.shared:
            return self.query(query)
        if step not in self.kept:
            df = self.query(query)
            path = os.path.join(self.job["engine"]["spillDir"], f"kept-{len(self.kept)}.arrow")
            try:
                self.kept[step] = self.keep(df, path)
            except BaseException as error:
                raise self.named(query, error) from error
        return self.kept[step]

    def named(self, query, error):
        failure = classify(error, self.planning)
        return JobError(failure.cls, f"{query['step']}: {failure.message}", **failure.more)
