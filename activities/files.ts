import { chmod, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ResolvedDirectory, WebDirectory } from '../src/config/resolved.ts';
import { SpillwayError } from '../src/contracts/errors.ts';
import type { HandoffPart, HandoffRef } from '../src/contracts/handoff.ts';
import type { FilesStep, WriteStep } from '../src/contracts/pipeline.ts';
import { dataIdOf, type Proof, type StepUsage } from '../src/contracts/pool.ts';
import type { StepActivities, StepRequest } from '../src/contracts/steps.ts';
import { runDatafusion } from '../src/engines/datafusion/run-datafusion.ts';
import { downloadFiles } from '../src/engines/files/download-files.ts';
import { findFiles, rowsOf } from '../src/engines/files/find-files.ts';
import { prepareFolder, publishFolder } from '../src/engines/files/publish-folder.ts';
import { fingerprintOf, handoffRef } from '../src/handoff/handoff-ref.ts';
import { formatOfFiles } from '../src/policy/graph.ts';
import { formatBytes } from '../src/policy/sizes.ts';
import type { ActivityDeps } from './deps.ts';
import { type Attempt, attemptMs, exited, leased, noUsage, type Worked } from './leased.ts';
import { reading } from './reading.ts';

/** Finds or downloads files, and writes folders of files. */
export function createFileActivities(deps: ActivityDeps): Pick<StepActivities, 'readFiles' | 'writeFiles'> {
  return {
    readFiles: (request) => leased(deps, request, (attempt) => readFiles(deps, request as FilesRequest, attempt)),
    writeFiles: (request) =>
      leased(deps, request, (attempt) =>
        reading(deps, request, attempt, (inputs) =>
          writeFiles(deps, { ...(request as StepRequest<WriteStep>), inputs }, attempt),
        ),
      ),
  };
}

type FilesRequest = StepRequest<FilesStep>;

/** Files of this host are read where they lie; those of a web server are downloaded first. */
async function readFiles(deps: ActivityDeps, request: FilesRequest, attempt: Attempt): Promise<Worked> {
  const startedAtMs = Date.now();
  const { run, spec, handoff } = request;
  const name = spec.directory ?? 'default';
  const format = formatOfFiles(spec)!;
  const where = directory(deps, name);
  const { parts, versions, because } =
    'url' in where ? await downloaded(deps, where, request, attempt) : await foundFiles(where.path, spec, name);
  const output: HandoffRef = {
    ...handoffRef({
      choice: { ...handoff!, because },
      parts,
      schema: [],
      host: deps.host,
      fingerprint: fingerprintOf({ sql: JSON.stringify(versions) }),
      dataId: dataIdOf(run, spec.step),
    }),
    ...(format === 'csv' && { csv: spec.csv ?? {} }),
  };
  const used = { ...noUsage((Date.now() - startedAtMs) / 1000, 'ok'), outputBytes: output.bytes, rows: output.rows };
  const scratchPeakBytes = 'url' in where ? output.bytes : 0;
  return { proof: exited(), used: { ...used, scratchPeakBytes }, output };
}

/** Files, and what tells one version of them from another. */
interface FoundFiles {
  parts: HandoffPart[];
  versions: unknown[];
  because: string;
}

const countOf = ({ length }: readonly unknown[]): string => (length === 1 ? '1 file' : `${length} files`);

async function foundFiles(root: string, spec: FilesStep, name: string): Promise<FoundFiles> {
  const parts = await findFiles({ root, paths: [spec.path].flat(), format: formatOfFiles(spec)! });
  const because = `${countOf(parts)} of ${name}, read where they lie`;
  return { parts, versions: parts.map(({ uri, bytes }) => [uri, bytes]), because };
}

async function downloaded(
  deps: ActivityDeps,
  where: WebDirectory,
  { run, spec, scratchBytes }: FilesRequest,
  attempt: Attempt,
): Promise<FoundFiles> {
  const { scratch } = deps.engines;
  const name = { run, step: spec.step, token: attempt.token };
  const format = formatOfFiles(spec)!;
  const token = deps.engines.token(where);
  await scratch.dropLowerTokens(name);
  const { directory: attemptDir } = await scratch.reserveAttempt(name, { scratchBytes });
  let sealed = false;
  try {
    const into = join(attemptDir, 'out');
    await mkdir(into, { recursive: true });
    await chmod(into, 0o755); // containers read it as another user
    const files = await downloadFiles({
      ...{ url: where.url, paths: [spec.path].flat(), maxConnections: where.maxConnections },
      ...(token !== undefined && { token }),
      ...{ into, ending: `.${format}`, mostBytes: scratchBytes, signal: attempt.signal },
      onProgress: (progress) => attempt.progress({ phase: 'downloading', ...progress }),
    });
    const parts: HandoffPart[] = [];
    for (const { url, path, bytes } of files)
      parts.push({ kind: format, uri: pathToFileURL(path).href, rows: await rowsOf(path, format, url), bytes });
    await scratch.sealAttempt(name);
    sealed = true;
    const versions = files.map(({ url, bytes, version }) => [url, bytes, version]);
    return { parts, versions, because: `${countOf(files)} of ${where.url}, downloaded` };
  } finally {
    if (!sealed) await scratch.dropAttempt(name);
  }
}

async function writeFiles(deps: ActivityDeps, request: StepRequest<WriteStep>, attempt: Attempt): Promise<Worked> {
  const { spec, run } = request;
  const { scratch } = deps.engines;
  const name = { run, step: spec.step, token: attempt.token };
  const ref = request.inputs['from']!;
  const startedAtMs = Date.now();
  const where = directory(deps, spec.directory ?? 'default');
  if ('url' in where) throw new SpillwayError('InvalidInput', `${where.url} is only read. Write to a directory that has a path.`); // prettier-ignore
  const folder = await prepareFolder(where.path, spec.path);
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
    throw kind === 'parquet'
      ? new SpillwayError('InvalidInput', `its rows cannot be copied as Parquet: ${request.inputs['from']!.because}. Cast such columns, for example to a text.`)
      : new SpillwayError('Unexpected', `its input is not ${kind}, and no memory was asked to write it anew.`); // prettier-ignore
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

function directory({ config }: ActivityDeps, name: string): ResolvedDirectory {
  const found = Object.hasOwn(config.directories, name) ? config.directories[name] : undefined;
  if (!found)
    throw new SpillwayError('InvalidInput', `no directory named '${name}' is configured on this host. Set directories.${name}.path, or its url.`); // prettier-ignore
  return found;
}
