import { availableParallelism } from 'node:os';
import type { HandoffRef } from '../src/contracts/handoff.ts';
import type { PostgresLoadStep, PostgresSqlStep } from '../src/contracts/pipeline.ts';
import type { Proof, StepUsage } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { type ArrowSource, openArrowSource } from '../src/engines/postgres/arrow-source.ts';
import { loadTable } from '../src/engines/postgres/load.ts';
import { runStatement } from '../src/engines/postgres/run-statement.ts';
import { isLoopback } from '../src/policy/loopback.ts';
import type { ActivityDeps } from './deps.ts';
import { type Attempt, exited, leased, noUsage, type Worked } from './leased.ts';
import { reading } from './reading.ts';
import { parquetDecoder } from './parquet-decoder.ts';

/** Loads a dataset into a table, exactly once. */
export function createPostgresActivities(deps: ActivityDeps): Pick<StepActivities, 'postgresLoad' | 'postgresSql'> {
  return {
    postgresSql: (request) =>
      leased(deps, request, (attempt) => postgresSql(deps, request as StepRequest<PostgresSqlStep>, attempt)),
    postgresLoad: (request) =>
      leased(deps, request, (attempt) =>
        reading(deps, request, attempt, (inputs) =>
          postgresLoad(deps, { ...(request as StepRequest<PostgresLoadStep>), inputs }, attempt),
        ),
      ),
  };
}

async function postgresSql(
  deps: ActivityDeps,
  { spec, run }: StepRequest<PostgresSqlStep>,
  attempt: Attempt,
): Promise<Worked> {
  // prettier-ignore
  const startedAtMs = Date.now();
  attempt.progress({ phase: 'running' });
  const { rows, alreadyRun } = await runStatement(deps.engines.postgres(spec.connection ?? 'default'), {
    ...{ run, step: spec.step, token: attempt.token, sql: spec.sql, signal: attempt.signal },
    ...(spec.params && { params: spec.params }),
    ...(spec.into !== undefined && { into: spec.into, key: spec.key ?? [], indexes: spec.indexes ?? [] }),
  });
  return {
    proof: exited(),
    used: { ...noUsage((Date.now() - startedAtMs) / 1000, 'ok'), rows },
    ran: {
      rows,
      because: alreadyRun ? 'an earlier attempt had run it' : 'run in one transaction with the load ledger',
    },
  };
}

/** Whether a PostgreSQL runs on this host, as far as its address says. */
function isHere({ postgres }: ActivityDeps['config'], connection: string): boolean {
  const url = Object.hasOwn(postgres, connection) ? postgres[connection]!.url : undefined;
  return url !== undefined && isLoopback(new URL(url).hostname);
}

/** Where a load takes its batches from, and what ends with it. */
interface Rows {
  open(signal: AbortSignal): Promise<ArrowSource>;
  /** Waits for whoever made the batches; stops it first when nobody reads them any more. */
  end(options?: { stop: boolean }): Promise<{ proof: Proof; used?: StepUsage }>;
}

async function postgresLoad(
  deps: ActivityDeps,
  request: StepRequest<PostgresLoadStep>,
  attempt: Attempt,
): Promise<Worked> {
  const { spec, run } = request;
  const ref = request.inputs['from']!;
  const startedAtMs = Date.now();
  const rssBefore = process.memoryUsage.rss();
  let peakRss = rssBefore;
  const rows = ref.parts.every((part) => part.kind === 'arrow')
    ? arrowRows(ref)
    : await decodedRows(deps, request, ref, attempt);
  const connection = spec.connection ?? 'default';
  const loaded = await loadTable(deps.engines.postgres(connection), {
    run,
    step: spec.step,
    token: attempt.token,
    into: spec.into,
    ...(spec.key ? { key: spec.key } : {}),
    ...(spec.write ? { write: spec.write } : {}),
    ...(spec.partition ? { partition: spec.partition } : {}),
    ...(spec.evolve ? { evolve: spec.evolve } : {}),
    ...(spec.strategy ? { strategy: spec.strategy } : {}),
    ...(spec.connections === undefined ? {} : { connections: spec.connections }),
    ...(isHere(deps.config, connection) && { serverCores: availableParallelism() }),
    leaseBytes: request.leaseBytes,
    ...(spec.indexes ? { indexes: spec.indexes } : {}),
    ...(spec.indexOrder ? { indexOrder: spec.indexOrder } : {}),
    triedAgain: !attempt.isLast,
    source: (signal) => rows.open(signal),
    logicalTypes: logicalTypes(ref),
    expectedRows: ref.rows,
    expectedBytes: ref.bytes,
    signal: attempt.signal,
    onProgress: (progress) => {
      peakRss = Math.max(peakRss, process.memoryUsage.rss());
      attempt.progress({ ...progress });
    },
  }).catch(async (error: unknown) => {
    const { proof } = await rows.end({ stop: true }).catch(() => ({ proof: exited() }));
    attempt.ended({ proof, used: usage(0, 0, 'failed') });
    throw error;
  });
  const { proof, used } = await rows.end();
  function usage(loadedRows: number, bytes: number, verdict: string): StepUsage {
    return {
      peakBytes: Math.max(0, peakRss - rssBefore),
      scratchPeakBytes: 0,
      inputBytes: ref.bytes,
      outputBytes: bytes,
      rows: loadedRows,
      seconds: (Date.now() - startedAtMs) / 1000,
      verdict,
    };
  }
  const own = usage(loaded.rows, loaded.bytes, 'ok');
  return {
    proof,
    used: used ? { ...own, peakBytes: own.peakBytes + used.peakBytes } : own,
    loaded: {
      table: loaded.table,
      rows: loaded.rows,
      bytes: loaded.bytes,
      strategy: loaded.strategy,
      because: [loaded.because, ...loaded.warnings].join('; '),
    },
  };
}

const logicalTypes = (ref: HandoffRef): Record<string, string> =>
  Object.fromEntries(
    ref.schema.flatMap(({ name, logicalType }) => (logicalType === undefined ? [] : [[name, logicalType]])),
  );

const arrowRows = (ref: HandoffRef): Rows => ({
  open: (signal) => openArrowSource(ref.parts, signal),
  end: async () => ({ proof: exited() }),
});

/** Rows that a container decodes into a FIFO; see `parquetDecoder`. */
async function decodedRows(
  deps: ActivityDeps,
  request: StepRequest<PostgresLoadStep>,
  ref: HandoffRef,
  attempt: Attempt,
): Promise<Rows> {
  const { scratch } = deps.engines;
  const name = { run: request.run, step: request.spec.step, token: attempt.token };
  await scratch.dropLowerTokens(name);
  const { directory } = await scratch.reserveAttempt(name, { scratchBytes: request.scratchBytes });
  const { pool, leaseId, leaseBytes, scratchBytes } = request;
  const lease = { ...name, pool, leaseBytes, scratchBytes, directory, ...(leaseId === undefined ? {} : { leaseId }) };
  const decoder = parquetDecoder(deps, lease, ref);
  return {
    open: async (signal) => openArrowSource({ fifo: decoder.fifo }, await decoder.start(signal)),
    async end(options) {
      try {
        return await decoder.end(options); // of a table that was loaded before it never started
      } finally {
        await scratch.dropAttempt(name);
      }
    },
  };
}
