import { join } from 'node:path';
import type { DatafusionSqlStep } from '../src/contracts/pipeline.ts';
import { dataIdOf } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { runDatafusion } from '../src/engines/datafusion/run-datafusion.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
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
  const { spec, run, inputs } = request;
  const { scratch, datafusion } = deps.engines;
  const name = { run, step: spec.step, token: attempt.token };
  await scratch.dropLowerTokens(name);
  const memoryBytes = Math.min(request.shmBytes ?? 0, await scratch.memoryFreeBytes());
  const { directory } = await scratch.reserveAttempt(name, {
    scratchBytes: request.scratchBytes,
    inMemory: memoryBytes > 0,
  });
  const dir = join(directory, 'out');
  let sealed = false;
  try {
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
        request.handoff?.mode === 'parquet'
          ? { kind: 'parquet', dir }
          : {
              ...{ kind: 'arrow', dir },
              ...(request.handoff?.parquetPastBytes !== undefined && {
                parquetPastBytes: request.handoff.parquetPastBytes,
              }),
              ...(memoryBytes > 0 && { memory: { dir: scratch.memoryDirectory(name), bytes: memoryBytes } }),
            },
      attemptDir: directory,
      // Joins that spill, once the fast ones ran out of memory.
      hashJoin: request.ordinal === 0,
      ...(request.overhead && { overhead: request.overhead }),
      timeoutMs: attemptMs(),
      signal: attempt.signal,
      onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
    });
    await scratch.sealAttempt(name);
    sealed = true;
    // What it keeps in memory goes from its lease to the dataset, and is no remnant of it.
    const kept = keptRows(made.parts);
    return {
      proof: { ...made.proof, bytesLeft: Math.max(0, made.proof.bytesLeft - kept.bytes) },
      used: made.used,
      output: handoffRef({
        choice: handedOver(request.handoff!, made.parts, { asked: request.shmBytes ?? 0, had: memoryBytes }),
        parts: made.parts,
        schema: made.schema,
        host: deps.host,
        fingerprint: fingerprintOf({
          sql: request.fused ? JSON.stringify(request.fused) : spec.sql,
          inputs: Object.fromEntries(Object.entries(inputs).map(([table, ref]) => [table, ref.fingerprint])),
        }),
        dataId: dataIdOf(run, spec.step),
      }),
    };
  } finally {
    if (!sealed) await scratch.dropAttempt(name);
  }
}
