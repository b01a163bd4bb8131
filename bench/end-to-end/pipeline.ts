import type { IndexSpec, PipelineSpec } from '../../src/contracts/pipeline.ts';

/** A table that both sides load. */
export interface Target {
  readonly name: 'fact' | 'daily';
  /** Query over `lines` whose rows it holds, in order. */
  readonly sql: string;
  readonly key: readonly string[];
  readonly indexes: readonly (readonly string[])[];
}

/** What both sides compute: the same statements, the same tables. */
export interface Work {
  readonly extract: string;
  readonly targets: readonly Target[];
}

/** A quarter of lineitem beside its orders (1.5 million rows at scale factor 1), sorted into one table and summed up into another. */
export function workOf(schema: 'sf1' | 'tiny'): Work {
  return {
    extract:
      `select l.orderkey, l.linenumber, l.partkey, l.suppkey, l.quantity, l.extendedprice, l.discount, l.shipdate, l.shipmode,
                o.orderdate, o.orderpriority, o.custkey
              from tpch.${schema}.lineitem l join tpch.${schema}.orders o on o.orderkey = l.orderkey
              where mod(l.orderkey, 4) = 0`.replace(/\n\s+/g, '\n'),
    targets: [
      {
        name: 'fact',
        sql: `select *, extendedprice * (1 - discount) as revenue from lines order by orderkey, linenumber`,
        key: ['orderkey', 'linenumber'],
        indexes: [['shipdate']],
      },
      {
        name: 'daily',
        sql: `select shipdate, shipmode, orderpriority, count(*) as lines, sum(quantity) as quantity, sum(extendedprice * (1 - discount)) as revenue
              from lines group by shipdate, shipmode, orderpriority order by shipdate, shipmode, orderpriority`.replace(
          /\n\s+/g,
          '\n',
        ),
        key: ['shipdate', 'shipmode', 'orderpriority'],
        indexes: [],
      },
    ],
  };
}

/** The work as a pipeline of ours, loading into a schema. */
export function pipelineOf(work: Work, into: string): PipelineSpec {
  return {
    name: 'bench-end-to-end',
    steps: [
      { step: 'lines', verb: 'trino.query', sql: work.extract },
      ...work.targets.flatMap(({ name, sql, key, indexes }): PipelineSpec['steps'] => [
        { step: name, verb: 'datafusion.sql', from: { lines: 'lines' }, sql, profile: 'M' },
        {
          step: `load_${name}`,
          verb: 'postgres.load',
          from: name,
          into: `${into}.${name}`,
          key: [...key],
          indexes: indexes.map((columns): IndexSpec => ({ columns: [...columns] })),
        },
      ]),
    ],
  };
}
