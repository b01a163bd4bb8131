import { join } from 'node:path';
import type { DatafusionSqlStep } from '../src/contracts/pipeline.ts';
import { dataIdOf } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { runDatafusion } from '../src/engines/datafusion/run-datafusion.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import type { ActivityDeps } from './deps.ts';
import { type Attempt, attemptMs, leased, type Worked } from './leased.ts';

/** Runs a query in a container of its own, limited to what the step was lent. */
export function createDatafusionActivities(deps: ActivityDeps): Pick<StepActivities, 'datafusionSql'> {
  return {
    datafusionSql: (request) =>
      leased(deps, request, (attempt) => datafusionSql(deps, request as StepRequest<DatafusionSqlStep>, attempt)),
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
  const { directory } = await scratch.reserveAttempt(name, { scratchBytes: request.scratchBytes });
  let kept = false;
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
      output: { kind: request.handoff?.mode === 'parquet' ? 'parquet' : 'arrow', dir: join(directory, 'out') },
      attemptDir: directory,
      // Joins that spill, once the fast ones ran out of memory.
      hashJoin: request.ordinal === 0,
      timeoutMs: attemptMs(),
      signal: attempt.signal,
      onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
    });
    await scratch.sealAttempt(name);
    kept = true;
    return {
      proof: made.proof,
      used: made.used,
      output: handoffRef({
        choice: request.handoff!,
        parts: made.parts,
        schema: made.schema,
        host: deps.host,
        fingerprint: fingerprintOf({
          sql: spec.sql,
          inputs: Object.fromEntries(Object.entries(inputs).map(([table, ref]) => [table, ref.fingerprint])),
        }),
        dataId: dataIdOf(run, spec.step),
      }),
    };
  } finally {
    if (!kept) await scratch.dropAttempt(name);
  }
}
