import { SpillwayError } from '../../contracts/errors.ts';
import type { LoadWrite, PartitionBound } from '../../contracts/pipeline.ts';
import type { ArrowSource } from './arrow-source.ts';
import { sourceColumns } from './arrow-types.ts';
import { chunkBytesOf } from './copy-ranges.ts';
import { quoteIdentifier, quoteTable, showTable, stagingCheck, type TableName } from './identifiers.ts';
import { plannedIndexes } from './indexes.ts';
import { type InsertTarget, inspectInsertTarget, planInsert } from './insert-target.ts';
import type { Claim } from './ledger.ts';
import type { LoadRequest } from './load-request.ts';
import type { LoadPlan, PartitionPlan, PlannedIndex } from './load-plan.ts';
import { boundCheck, boundName, boundSql } from './partition.ts';
import { inspectPartitioned } from './partition-target.ts';
import { stagingName } from './publish.ts';
import { planTable } from './schema.ts';
import type { TablePlan } from './table-plan.ts';
import type { Session } from './session.ts';
import { chooseConnections, chooseStrategy, type ServerFacts, type StrategyChoice } from './strategy.ts';
import { inspectTarget } from './target.ts';
import { SERVER_FACTS } from './target-sql.ts';

/**
 * Decides how a load is carried out, from what is asked, the rows' columns and the target as it is.
 * @throws SpillwayError `LoadRefused` before anything is made, with every problem
 */
export async function planLoad(
  session: Session,
  request: LoadRequest,
  claim: Claim,
  target: TableName,
  source: ArrowSource,
): Promise<LoadPlan> {
  const write = request.write ?? 'replace';
  if (write !== 'replace') {
    const into = await inspectInsertTarget(session, target, write);
    if (into) return planInto(request, claim, target, source, into, write);
  }
  const made = request.partition
    ? await planPartition(session, request, request.partition, target, source)
    : await planReplace(session, request, target, source);
  const [facts] = await session.query<{
    wal_level: string;
    version: number;
    publishes_all: string[];
    free_connections: number;
  }>(SERVER_FACTS);
  const server: ServerFacts = {
    walLevel: facts!.wal_level,
    version: facts!.version,
    publishesAll: facts!.publishes_all,
    freeConnections: Math.max(0, facts!.free_connections),
  };
  const choice = chooseStrategy({
    asked: request.strategy ?? 'auto',
    connections: request.connections,
    expectedRows: request.expectedRows,
    expectedBytes: request.expectedBytes,
    server,
  });
  const { connections, because } = connectionsOf(choice, request, server);
  return {
    ...common(request, claim, target),
    ...made,
    ...{ write, intoExisting: false },
    connections,
    choice: {
      strategy: choice.strategy,
      because: [choice.because, because, made.partition && `it is the partition ${made.partition.bound} of the table`].filter((part) => part !== undefined).join('; '), // prettier-ignore
    },
  };
}

/** Connections that copy at one time; `because` where nobody asked for as many. */
function connectionsOf(
  { strategy }: StrategyChoice,
  { connections, serverCores, leaseBytes }: LoadRequest,
  { freeConnections }: ServerFacts,
): { connections: number; because?: string } {
  if (strategy === 'freeze') return { connections: 1 };
  if (connections !== undefined) return { connections };
  if (strategy !== 'parallel') return { connections: 1 };
  const chosen = chooseConnections({ cores: serverCores, leaseBytes, freeConnections });
  return { connections: chosen.connections, because: `over ${chosen.connections} connections, as ${chosen.because}` };
}

const common = (request: LoadRequest, claim: Claim, target: TableName) => ({
  ...{ attempt: request, claim, target, staging: stagingName(claim.staging), expectedRows: request.expectedRows },
  indexOrder: request.indexOrder ?? 'after-logged',
  chunkBytes: request.limits?.chunkBytes ?? chunkBytesOf(request.expectedBytes ?? 0),
  ...(request.limits?.swapWaitMs === undefined ? {} : { swapWaitMs: request.limits.swapWaitMs }),
});

/** What is made in place of the target, or of a part of it. */
interface Made {
  table: TablePlan;
  indexes: readonly PlannedIndex[];
  warnings: readonly string[];
  partition?: PartitionPlan;
}

/** A table in place of the one that is there. */
async function planReplace(
  session: Session,
  request: LoadRequest,
  target: TableName,
  source: ArrowSource,
): Promise<Made> {
  // prettier-ignore
  const { key = [], indexes = [] } = request;
  const existing = await inspectTarget(session, target, key, indexes);
  const table = planTable({
    table: showTable(target),
    source: sourceColumns(source.schema.fields, request.logicalTypes),
    existing: existing?.columns,
    key,
    indexes,
    widen: request.evolve?.includes('widen') ?? false,
  });
  const warnings = [...table.warnings, ...(existing?.warnings ?? [])];
  return { table, indexes: plannedIndexes(key, indexes), warnings };
}

/** Generated columns and defaults are those of the whole table; identities are not for partitions. */
const LIKE = 'including defaults including constraints including generated including storage';

/** A partition of a table that is there: its columns, indexes and constraints are the table's. */
async function planPartition(
  session: Session,
  request: LoadRequest,
  bound: PartitionBound,
  target: TableName,
  source: ArrowSource,
): Promise<Made> {
  const table = showTable(target);
  const { key = [], indexes = [] } = request;
  if (key.length > 0 || indexes.length > 0)
    throw new SpillwayError('LoadRefused', `A partition of ${table} has the keys and indexes of the table. Remove key and indexes, and create them in ${table}.`); // prettier-ignore
  const parent = await inspectPartitioned(session, target, bound);
  const columns = sourceColumns(source.schema.fields, request.logicalTypes);
  const planned = planInsert(table, columns, { columns: parent.columns, uniques: [] }, [], 'append');
  const check = stagingCheck(request);
  const body = `like ${quoteTable(target)} ${LIKE}, constraint ${quoteIdentifier(check)} check (${boundCheck(parent.key, bound)})`;
  return {
    table: { ...planned, body },
    indexes: parent.indexes,
    warnings: planned.warnings,
    partition: {
      boundSql: boundSql(bound),
      bound: parent.bound,
      check,
      suffix: boundName(bound),
      owner: parent.owner,
    },
  };
}

const INTO: Record<Exclude<LoadWrite, 'replace'>, string> = {
  append: 'rows are copied into the table that is there, in the transaction that publishes them',
  merge: 'rows whose key is there update theirs, the others are added, in the transaction that publishes them',
};

/** A load into a table that is there. */
function planInto(
  request: LoadRequest,
  claim: Claim,
  target: TableName,
  source: ArrowSource,
  into: InsertTarget,
  write: keyof typeof INTO,
): LoadPlan {
  const table = showTable(target);
  const indexes = request.indexes ?? [];
  if (indexes.length > 0)
    throw new SpillwayError('LoadRefused', `The rows cannot be loaded into ${table}: indexes are built when a table is made, and it is there. Remove indexes, and create them in the table.`); // prettier-ignore
  const columns = sourceColumns(source.schema.fields, request.logicalTypes);
  const plan = planInsert(table, columns, into, request.key ?? [], write, request.evolve);
  return {
    ...common(request, claim, target),
    ...{ table: plan, warnings: plan.warnings, indexes: [], connections: 1, write, intoExisting: true },
    choice: { strategy: write, because: INTO[write] },
  };
}
