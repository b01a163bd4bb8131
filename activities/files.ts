import { dirname, join } from 'node:path';
import { SpillwayError } from '../src/contracts/errors.ts';
import type { HandoffPart, HandoffRef } from '../src/contracts/handoff.ts';
import type { FilesStep, WriteStep } from '../src/contracts/pipeline.ts';
import { dataIdOf, type Proof, type StepUsage } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { runDatafusion } from '../src/engines/datafusion/run-datafusion.ts';
import { findFiles } from '../src/engines/files/find-files.ts';
import { prepareFolder, publishFolder } from '../src/engines/files/publish-folder.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import { formatOfFiles } from '../src/policy/graph.ts';
import { formatBytes } from '../src/policy/sizes.ts';
import type { ActivityDeps } from './deps.ts';
import { type Attempt, attemptMs, exited, leased, noUsage, type Worked } from './leased.ts';
import { reading } from './reading.ts';

/** Reads which files are there, and writes folders of files. */
export function createFileActivities(deps: ActivityDeps): Pick<StepActivities, 'readFiles' | 'writeFiles'> {
  return {
    readFiles: (request) => leased(deps, request, () => readFiles(deps, request as StepRequest<FilesStep>)),
    writeFiles: (request) =>
      leased(deps, request, (attempt) =>
        reading(deps, request, attempt, (inputs) =>
          writeFiles(deps, { ...(request as StepRequest<WriteStep>), inputs }, attempt),
        ),
      ),
  };
}

/** Nothing is copied: its readers read the files themselves. */
async function readFiles(deps: ActivityDeps, { run, spec, handoff }: StepRequest<FilesStep>): Promise<Worked> {
  const startedAtMs = Date.now();
  const name = spec.directory ?? 'default';
  const format = formatOfFiles(spec)!;
  const parts = await findFiles({ root: directory(deps, name).path, paths: [spec.path].flat(), format });
  const output: HandoffRef = {
    ...handoffRef({
      choice: { ...handoff!, because: `${parts.length} files of ${name}, read where they lie` },
      parts,
      schema: [],
      host: deps.host,
      fingerprint: fingerprintOf({ sql: JSON.stringify(parts.map(({ uri, bytes }) => [uri, bytes])) }),
      dataId: dataIdOf(run, spec.step),
    }),
    ...(format === 'csv' && { csv: spec.csv ?? {} }),
  };
  const used = { ...noUsage((Date.now() - startedAtMs) / 1000, 'ok'), outputBytes: output.bytes, rows: output.rows };
  return { proof: exited(), used, output };
}

async function writeFiles(deps: ActivityDeps, request: StepRequest<WriteStep>, attempt: Attempt): Promise<Worked> {
  const { spec, run } = request;
  const { scratch } = deps.engines;
  const name = { run, step: spec.step, token: attempt.token };
  const ref = request.inputs['from']!;
  const startedAtMs = Date.now();
  const folder = await prepareFolder(directory(deps, spec.directory ?? 'default').path, spec.path);
  await scratch.dropLowerTokens(name);
  const entry = await scratch.reserveAttempt(name, { scratchBytes: request.scratchBytes, outside: dirname(folder) });
  try {
    const kind = spec.verb === 'write.parquet' ? 'parquet' : 'arrow';
    const isAsWanted = ref.parts.every((part) => part.kind === kind);
    const made = isAsWanted && ref.parts.length > 0 ? asTheyAre(ref, kind) : await writtenAnew(deps, request, attempt, entry.directory, kind); // prettier-ignore
    await publishFolder(folder, {
      ...{ attempt: name, parts: made.parts, signal: attempt.signal },
      onProgress: (bytes) => attempt.progress({ phase: 'writing', bytes }),
    });
    const bytes = made.parts.reduce((sum, part) => sum + part.bytes, 0);
    const rows = made.parts.reduce((sum, part) => sum + part.rows, 0);
    const used: StepUsage = made.used ?? { ...noUsage((Date.now() - startedAtMs) / 1000, 'ok'), inputBytes: ref.bytes };
    return {
      proof: made.proof,
      used: { ...used, rows, outputBytes: bytes, seconds: (Date.now() - startedAtMs) / 1000 },
      written: { path: folder, rows, bytes, kind, because: made.because },
    };
  } finally {
    await scratch.dropAttempt(name);
  }
}

interface Made {
  parts: HandoffPart[];
  proof: Proof;
  used?: StepUsage;
  because: string;
}

const asTheyAre = (ref: HandoffRef, kind: string): Made => ({
  parts: ref.parts,
  proof: exited(),
  because: `${formatBytes(ref.bytes)} of ${kind} copied as they were`,
});

/** Writes the rows as files of another kind, in a container. */
async function writtenAnew(
  deps: ActivityDeps,
  request: StepRequest<WriteStep>,
  attempt: Attempt,
  attemptDir: string,
  kind: 'parquet' | 'arrow',
): Promise<Made> {
  const { spec, run } = request;
  if (request.leaseId === undefined)
    throw new SpillwayError('Unexpected', `${spec.step}: its input is not ${kind}, and no memory was asked to write it anew.`); // prettier-ignore
  const { parts, proof, used } = await runDatafusion(deps.engines.datafusion, {
    ...{ run, step: spec.step, token: attempt.token, pool: request.pool, leaseId: request.leaseId },
    ...{ leaseBytes: request.leaseBytes, scratchBytes: request.scratchBytes },
    cpus: 1, // one partition, so that rows stay in their order
    inputs: { rows: request.inputs['from']! },
    sql: 'select * from rows',
    output: { kind, dir: join(attemptDir, 'out') },
    attemptDir,
    timeoutMs: attemptMs(),
    signal: attempt.signal,
    onProgress: (progress) => attempt.progress({ phase: 'running', ...progress }),
  });
  return { parts, proof, used, because: `written anew as ${kind}` };
}

function directory({ config }: ActivityDeps, name: string): ActivityDeps['config']['directories'][string] {
  const found = Object.hasOwn(config.directories, name) ? config.directories[name] : undefined;
  if (!found)
    throw new SpillwayError('InvalidInput', `no directory named '${name}' is configured on this host. Set directories.${name}.path.`); // prettier-ignore
  return found;
}
