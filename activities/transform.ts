import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SpillwayError, Verdict } from '../src/contracts/errors.ts';
import { type HandoffColumn, HandoffMode, type HandoffPart, type HandoffRef } from '../src/contracts/handoff.ts';
import type { TransformStep } from '../src/contracts/pipeline.ts';
import { dataIdOf, type Proof, type StepUsage } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import {
  runTransform,
  type TransformFailureDetails,
  type TransformResult,
} from '../src/engines/transform/run-transform.ts';
import { transformModule } from '../src/engines/transform/transform-module.ts';
import { endTransforms } from '../src/engines/transform/transform-processes.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import { handedOver, keptRows } from '../src/policy/kept-rows.ts';
import { ownTransformBytes } from '../src/policy/step-size.ts';
import type { ActivityDeps } from './deps.ts';
import { keeping } from './keeping.ts';
import { type Attempt, leased, type Worked } from './leased.ts';
import { reading } from './reading.ts';
import { parquetDecoder } from './parquet-decoder.ts';

/** Runs a registered TypeScript function over a dataset, in a process of its own, limited to what the step was lent. */
export function createTransformActivities(deps: ActivityDeps): Pick<StepActivities, 'transform'> {
  return {
    transform: (request) =>
      leased(deps, request, (attempt) =>
        reading(deps, request, attempt, (inputs) =>
          keeping(
            deps,
            request,
            attempt,
            transform(deps, { ...(request as StepRequest<TransformStep>), inputs }, attempt),
          ),
        ),
      ),
  };
}

async function transform(deps: ActivityDeps, request: StepRequest<TransformStep>, attempt: Attempt): Promise<Worked> {
  const { spec, run } = request;
  const { scratch } = deps.engines;
  const module = transformModule(deps.config);
  if (module === undefined)
    throw new SpillwayError('InvalidInput', 'this worker knows no transforms. Name their module with transforms in its configuration.'); // prettier-ignore
  const ref = request.inputs['from']!;
  const name = { run, step: spec.step, token: attempt.token };
  await endTransforms({ run, step: spec.step, upToToken: attempt.token - 1 });
  await scratch.dropLowerTokens(name);
  const memoryBytes = Math.min(request.shmBytes ?? 0, await scratch.memoryFreeBytes());
  const { directory } = await scratch.reserveAttempt(name, {
    scratchBytes: request.scratchBytes,
    inMemory: memoryBytes > 0,
  });
  const memory = memoryBytes > 0 && { path: join(scratch.memoryDirectory(name), 'part-00000.arrow'), bytes: memoryBytes }; // prettier-ignore
  const out = join(directory, 'out');
  const pastBytes = request.handoff?.mode === HandoffMode.PARQUET ? 0 : request.handoff?.parquetPastBytes;
  const parquet = pastBytes !== undefined && { path: join(out, 'part-00000.parquet'), pastBytes };
  const writeTo = { disk: join(out, 'part-00000.arrow'), ...(memory && { memory }), ...(parquet && { parquet }) };
  const decodes = ref.parts.some(({ kind }) => kind !== 'arrow');
  const limitBytes = ownTransformBytes(request.leaseBytes - (request.shmBytes ?? 0), decodes);
  let kept = false;
  try {
    await mkdir(out, { recursive: true });
    await chmod(out, 0o755); // containers read it as another user
    const made = await withInput(deps, request, attempt, directory, decodes, (input, signal) =>
      runTransform({
        ...name,
        ...(request.leaseId !== undefined && {
          lease: { pool: request.pool, leaseId: request.leaseId, bytes: limitBytes + (request.shmBytes ?? 0) },
        }),
        order: {
          kind: 'run',
          ...module,
          ...{ transform: spec.run, args: spec.args ?? {}, run, step: spec.step, input, writeTo, limitBytes },
          batchRows: deps.config.hardware.batchRows,
          scratchBytes: request.scratchBytes,
        },
        groups: deps.engines.transformGroups,
        signal,
        onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
      }),
    ).catch((error: unknown) => {
      const known = detailsOf(error);
      if (known) attempt.ended({ proof: known.proof, used: usageOf(ref, known, verdictOf(error)) });
      throw error;
    });
    await scratch.sealAttempt(name);
    kept = true;
    const parts = made.parts.map(({ path, inMemory, ...part }): HandoffPart => ({ ...part, uri: pathToFileURL(path).href, ...(inMemory && { inMemory }) })); // prettier-ignore
    const rows = keptRows(parts);
    return {
      proof: made.proof,
      // As a container's, the peak is with the rows that it keeps in memory.
      used: { ...usageOf(ref, { ...made, peakBytes: made.peakBytes + rows.bytes }, Verdict.OK), scratchPeakBytes: rows.scratchBytes, ...(request.shmBytes !== undefined && { shmBytes: request.shmBytes }) }, // prettier-ignore
      output: handoffRef({
        choice: handedOver(request.handoff!, parts, { asked: request.shmBytes ?? 0, had: memoryBytes }, made.unfit),
        parts,
        schema: made.schema.map((column) => withLogicalType(column, ref)),
        host: deps.host,
        fingerprint: fingerprintOf({
          sql: `transform ${spec.run} ${JSON.stringify(spec.args ?? {})}`,
          inputs: { from: ref.fingerprint },
        }),
        dataId: dataIdOf(run, spec.step),
      }),
    };
  } finally {
    if (!kept) await scratch.dropAttempt(name);
  }
}

type Input = { files: string[] } | { fifo: string };

/** Runs `work` on the rows of the step's input: its files, or a FIFO that a container decodes them into. */
async function withInput(
  deps: ActivityDeps,
  request: StepRequest<TransformStep>,
  attempt: Attempt,
  directory: string,
  decodes: boolean,
  work: (input: Input, signal: AbortSignal) => Promise<TransformResult>,
): Promise<TransformResult> {
  const { spec, run } = request;
  const ref = request.inputs['from']!;
  if (!decodes) {
    const made = await work({ files: ref.parts.map(({ uri }) => fileURLToPath(uri)) }, attempt.signal);
    requireAll(ref, made);
    return made;
  }
  const decoder = parquetDecoder(
    deps,
    {
      ...{ run, step: spec.step, token: attempt.token, pool: request.pool, directory },
      ...(request.leaseId === undefined ? {} : { leaseId: request.leaseId }),
      leaseBytes: request.leaseBytes - ownTransformBytes(request.leaseBytes, decodes),
      scratchBytes: request.scratchBytes,
    },
    ref,
  );
  let made: TransformResult;
  try {
    made = await work({ fifo: decoder.fifo }, await decoder.start(attempt.signal));
  } catch (error) {
    await decoder.end({ stop: true }).catch(() => undefined); // told by the transform's own end
    throw error;
  }
  // A transform may have had enough before its input ended.
  if (!made.readAll) await decoder.end({ stop: true }).catch(() => undefined);
  else {
    requireAll(ref, made);
    const { used } = await decoder.end();
    made = { ...made, peakBytes: made.peakBytes + (used?.peakBytes ?? 0) };
  }
  await rm(decoder.fifo, { force: true });
  return made;
}

/** A stream that breaks off between two batches looks like one that ended. */
function requireAll(ref: HandoffRef, { readAll, rowsIn }: TransformResult): void {
  if (readAll && rowsIn !== ref.rows)
    throw new SpillwayError('EngineFailed', `its input ended after ${rowsIn} of ${ref.rows} rows.`);
}

/** What a carrier lost is known of columns that go through as they are. */
function withLogicalType(column: HandoffColumn, ref: HandoffRef): HandoffColumn {
  const before = ref.schema.find(({ name, type }) => name === column.name && type === column.type);
  return before?.logicalType === undefined ? column : { ...column, logicalType: before.logicalType };
}

function detailsOf(error: unknown): TransformFailureDetails | undefined {
  const details = error instanceof SpillwayError ? (error.details as Partial<TransformFailureDetails>) : undefined;
  return details?.proof && details.peakBytes !== undefined ? (details as TransformFailureDetails) : undefined;
}

const verdictOf = (error: unknown): Verdict =>
  error instanceof SpillwayError && error.code === 'OutOfMemoryOwn' ? Verdict.OOM_OWN : Verdict.CRASH;

const usageOf = (
  ref: HandoffRef,
  of: { peakBytes: number; seconds: number; rows?: number; bytes?: number; proof: Proof },
  verdict: Verdict,
): StepUsage => ({
  peakBytes: of.peakBytes,
  scratchPeakBytes: of.bytes ?? 0,
  inputBytes: ref.bytes,
  outputBytes: of.bytes ?? 0,
  rows: of.rows ?? 0,
  seconds: of.seconds,
  verdict,
});
