import { join } from 'node:path';
import type { HandoffChoice, HandoffRef } from '../src/contracts/handoff.ts';
import type { DatafusionSqlStep } from '../src/contracts/pipeline.ts';
import type { FusedQuery } from '../src/contracts/plan.ts';
import { dataIdOf } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import {
  type DatafusionRequest,
  type DatafusionRows,
  type FurtherFiles,
  runDatafusion,
} from '../src/engines/datafusion/run-datafusion.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import { inputsOfQuery } from '../src/policy/fuse.ts';
import { handedOver, keptRows } from '../src/policy/kept-rows.ts';
import type { ActivityDeps } from './deps.ts';
import { keeping } from './keeping.ts';
import { type Attempt, attemptMs, leased, type Worked } from './leased.ts';
import { reading } from './reading.ts';

/** Runs a query in a container of its own, limited to what the step was lent. */
export function createDatafusionActivities(deps: ActivityDeps): Pick<StepActivities, 'datafusionSql'> {
  return {
    datafusionSql: (request) =>
      leased(deps, request, (attempt) =>
        reading(deps, request, attempt, (inputs) =>
          keeping(
            deps,
            request,
            attempt,
            datafusionSql(deps, { ...(request as StepRequest<DatafusionSqlStep>), inputs }, attempt),
          ),
        ),
      ),
  };
}

async function datafusionSql(
  deps: ActivityDeps,
  request: StepRequest<DatafusionSqlStep>,
  attempt: Attempt,
): Promise<Worked> {
  const { spec, run, inputs, further = [] } = request;
  const { scratch, datafusion } = deps.engines;
  const name = { run, step: spec.step, token: attempt.token };
  // Rows of each step lie in a directory of its own name: whoever computes it again removes no others.
  const beside = further.map(({ step, ...more }) => ({ ...more, name: { ...name, step } }));
  const names = [name, ...beside.map((one) => one.name)];
  for (const one of names) await scratch.dropLowerTokens(one);
  const memoryBytes = Math.min(request.shmBytes ?? 0, await scratch.memoryFreeBytes());
  const { directory } = await scratch.reserveAttempt(name, {
    scratchBytes: request.scratchBytes,
    inMemory: memoryBytes > 0,
  });
  let sealed = false;
  try {
    const output = filesOf(directory, request.handoff);
    const outputs: NonNullable<DatafusionRequest['further']> = [];
    for (const { name: other, query, handoff } of beside) {
      const { directory: own } = await scratch.reserveAttempt(other, { within: spec.step });
      outputs.push({ step: other.step, query, output: filesOf(own, handoff) });
    }
    const made = await runDatafusion(datafusion, {
      ...name,
      pool: request.pool,
      ...(request.leaseId === undefined ? {} : { leaseId: request.leaseId }),
      leaseBytes: request.leaseBytes,
      scratchBytes: request.scratchBytes,
      cpus: deps.config.hardware.datafusion.partitions,
      inputs,
      sql: spec.sql,
      ...(request.fused && { fused: request.fused }),
      output:
        output.kind === 'arrow' && memoryBytes > 0
          ? { ...output, memory: { dir: scratch.memoryDirectory(name), bytes: memoryBytes } }
          : output,
      ...(outputs.length > 0 && { further: outputs }),
      attemptDir: directory,
      // Joins that spill, once the fast ones ran out of memory.
      hashJoin: request.ordinal === 0,
      ...(request.overhead && { overhead: request.overhead }),
      timeoutMs: attemptMs(),
      signal: attempt.signal,
      onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
    });
    for (const one of names) await scratch.sealAttempt(one);
    sealed = true;
    // What it keeps in memory goes from its lease to the dataset, and is no remnant of it.
    const kept = keptRows(made.parts);
    const had = { asked: request.shmBytes ?? 0, had: memoryBytes };
    const refOf = (step: string, of: FusedQuery | string, rows: DatafusionRows, choice: HandoffChoice): HandoffRef =>
      handoffRef({
        ...{ choice, parts: rows.parts, schema: rows.schema, host: deps.host, dataId: dataIdOf(run, step) },
        fingerprint: fingerprintIn(of, inputs),
      });
    return {
      proof: { ...made.proof, bytesLeft: Math.max(0, made.proof.bytesLeft - kept.bytes) },
      used: made.used,
      output: refOf(spec.step, request.fused ?? spec.sql, made, handedOver(request.handoff!, made.parts, had)),
      ...(further.length > 0 && {
        further: Object.fromEntries(
          further.map(({ step, query, handoff }) => {
            const rows = made.further[step]!;
            return [step, refOf(step, query, rows, handedOver(handoff, rows.parts, { asked: 0, had: 0 }))];
          }),
        ),
      }),
    };
  } finally {
    if (!sealed) for (const one of names) await scratch.dropAttempt(one);
  }
}

/** Files on disk, as it was decided for rows. */
function filesOf(directory: string, choice: HandoffChoice | undefined): FurtherFiles {
  const dir = join(directory, 'out');
  if (choice?.mode === 'parquet') return { kind: 'parquet', dir };
  const past = choice?.parquetPastBytes;
  return { kind: 'arrow', dir, ...(past !== undefined && { parquetPastBytes: past }) };
}

/** Of a statement over some of a step's inputs. */
function fingerprintIn(of: FusedQuery | string, inputs: StepRequest['inputs']): string {
  const names = typeof of === 'string' ? Object.keys(inputs) : inputsOfQuery(of).map(([name]) => name);
  return fingerprintOf({
    sql: typeof of === 'string' ? of : JSON.stringify(of),
    inputs: Object.fromEntries(names.map((name) => [name, inputs[name]!.fingerprint])),
  });
}
