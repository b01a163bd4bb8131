import { execa } from 'execa';
import { chmod, chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SpillwayError } from '../../contracts/errors.ts';
import type { HandoffColumn, HandoffPart, HandoffRef } from '../../contracts/handoff.ts';
import type { EngineOverhead, FusedQuery } from '../../contracts/plan.ts';
import type { Proof, StepUsage } from '../../contracts/pool.ts';
import { chooseCpuset, isTmpfs, type Machine } from '../../host/machine.ts';
import { containerUser } from '../container/cli-runtime.ts';
import type { ContainerEvent, ContainerOutcome, ContainerRuntime, Mount } from '../container/container-port.ts';
import { failureOf } from './failure.ts';
import {
  type ArrowPlaces,
  planInputs,
  PROTOCOL,
  type DatafusionJob,
  type JobDone,
  type JobOutput,
  type JobProgress,
  type JobRows,
} from './job.ts';
import { splitMemory, type MemorySplit } from './memory-rule.ts';

/** What DataFusion jobs are run with. */
export interface DatafusionDeps {
  runtime: ContainerRuntime;
  /** Image with the runner, or its directory where steps are processes; see containers/datafusion/README.md. */
  image: string;
  machine: Pick<Machine, 'cpus'>;
  /** `uid:gid` of containers; the one the runtime was made with. @defaultValue containerUser() */
  user?: string;
}

type FilesOutput = ({ kind: 'arrow'; dir: string } & ArrowPlaces) | { kind: 'parquet'; dir: string };

/** Files on disk of rows that are computed beside others. */
export type FurtherFiles =
  ({ kind: 'arrow'; dir: string } & Omit<ArrowPlaces, 'memory'>) | { kind: 'parquet'; dir: string };

/** One attempt of a DataFusion step. */
export interface DatafusionRequest {
  run: string;
  step: string;
  token: number;
  pool: string;
  leaseId?: string;
  leaseBytes: number;
  scratchBytes: number;
  cpus: number;
  /** Table name in the statement → where its rows are. */
  inputs: Record<string, HandoffRef>;
  sql: string;
  /** Statements within it; its inputs are named `<step>.<table>` then. */
  fused?: FusedQuery;
  /**
   * `dir` gets `part-00000.<kind>`; with `memory`, a directory on tmpfs gets the rows first, as far as `memory.bytes`, a part of the lease, reach; with
   * `parquetPastBytes`, Parquet gets those past so many bytes of Arrow. Each place has a file of its own, in the order of the rows. `path` is a
   * FIFO with a reader, made when it is missing. Rows read from a FIFO count only once this attempt has ended well: a reader cannot tell a failed writer from
   * a finished one.
   */
  output: FilesOutput | { kind: 'fifo'; path: string };
  /** What is computed beside it, with tables that are named alike. Rows of each lie in a directory of its own, on disk. */
  further?: { step: string; query: FusedQuery; output: FurtherFiles }[];
  /** Directory of this attempt alone; job file, links and spill lie in it while the attempt lives. Made when it is missing. */
  attemptDir: string;
  /** False after the engine ran out once: joins that spill instead of ones that are fast. @defaultValue true */
  hashJoin?: boolean;
  /** What earlier runs of this step took beside the engine's pool; see splitMemory. */
  overhead?: EngineOverhead;
  timeoutMs: number;
  /** How long the engine may do nothing at all. @defaultValue 2 minutes */
  stallMs?: number;
  signal?: AbortSignal;
  onProgress?: (progress: JobProgress) => void;
}

/** Rows that were handed over. */
export interface DatafusionRows {
  /** Absent files of a FIFO: an empty list. A part's bytes are those of its file. */
  parts: HandoffPart[];
  schema: HandoffColumn[];
}

/** What a DataFusion step made. */
export interface DatafusionResult extends DatafusionRows {
  verdict: 'ok';
  /** Step → what was computed beside it. */
  further: Record<string, DatafusionRows>;
  rows: number;
  /** Bytes of the rows in memory. */
  bytes: number;
  spillCount: number;
  spilledBytes: number;
  /** How the lease was divided; recorded with the run. */
  settings: MemorySplit & { cpuset: string; hashJoin: boolean };
  used: StepUsage;
  proof: Proof;
}

/**
 * Runs one query in a container of its own and answers where its rows are.
 *
 * Raises `EngineExhausted`, `OutOfMemoryOwn`, `OutOfMemoryCeiling`, `SqlError`, `ScratchFull`, `EngineFailed`, `ContainerFailed` with
 * `DatafusionFailureDetails`; `HandoffLost` when an input file is gone. An abort is rethrown after everything is gone. Only the directories of outputs keep
 * files, and only when it went well.
 */
export async function runDatafusion(deps: DatafusionDeps, request: DatafusionRequest): Promise<DatafusionResult> {
  const { attemptDir, output, further = [], signal } = request;
  const outputs = [output, ...further.map((one) => one.output)];
  const memory = output.kind === 'arrow' ? output.memory : undefined;
  const split = splitMemory(request.leaseBytes - (memory?.bytes ?? 0), request.cpus, request.overhead);
  const { tables, mounts: inputs } = planInputs(request.inputs, deps.runtime.mounts);
  await requireInputs(request.inputs);
  const user = deps.user ?? containerUser();
  const outDir = output.kind === 'fifo' ? dirname(output.path) : output.dir;
  const jobFile = join(attemptDir, 'job.json');
  const seen = deps.runtime.mounts
    ? { attempt: '/attempt', out: '/out', memory: '/memory' }
    : { attempt: attemptDir, out: outDir, memory: memory?.dir ?? '' };
  const beside = further.map((one, index) => ({ ...one, seen: deps.runtime.mounts ? `/further/${index}` : one.output.dir })); // prettier-ignore
  let ended = false;
  try {
    const dirs = [attemptDir, outDir, ...(memory ? [memory.dir] : []), ...further.map((one) => one.output.dir)];
    for (const dir of dirs) await makeWritable(dir, user);
    if (output.kind === 'fifo') await makeFifo(output.path, user);
    const onScratch = !(await isTmpfs(outDir));
    const job: DatafusionJob = {
      protocol: PROTOCOL,
      sql: request.sql,
      ...(request.fused && { query: request.fused }),
      tables,
      engine: {
        partitions: split.partitions,
        poolBytes: split.poolBytes,
        spillDir: join(seen.attempt, 'spill'),
        scratchBytes: request.scratchBytes,
        hashJoin: request.hashJoin ?? true,
        ...(outputs.some(encodes) && { aheadBytes: split.aheadBytes }),
      },
      linkDir: join(seen.attempt, 'links'),
      output: jobOutput(output, seen, onScratch, split.rowGroupBytes),
      ...(beside.length > 0 && {
        further: beside.map(({ step, query, output: files, seen: out }) => ({
          ...{ step, query },
          output: jobOutput(files, { out, memory: '' }, onScratch, split.rowGroupBytes),
        })),
      }),
      ...(request.stallMs !== undefined && { stallMs: request.stallMs }),
    };
    await writeFile(jobFile, JSON.stringify(job));
    await chmod(jobFile, 0o644); // whatever our umask, the container's user reads it
    const cpuset = chooseCpuset(deps.machine, request.cpus);
    const outcome = await deps.runtime.run({
      ...{ run: request.run, step: request.step, token: request.token, pool: request.pool },
      ...(request.leaseId !== undefined && { leaseId: request.leaseId }),
      image: deps.image,
      command: [join(seen.attempt, 'job.json')],
      memoryBytes: request.leaseBytes,
      cpuset,
      mounts: [
        { source: attemptDir, target: '/attempt', writable: true },
        { source: outDir, target: '/out', writable: true },
        ...(memory ? [{ source: memory.dir, target: '/memory', writable: true }] : []),
        ...beside.map(({ output: { dir }, seen: target }): Mount => ({ source: dir, target, writable: true })),
        ...inputs.map((mount): Mount => ({ ...mount, writable: false })),
      ],
      // Anything that asks for a temporary directory gets disk, not the small one in memory.
      environment: { TMPDIR: join(seen.attempt, 'spill') },
      timeoutMs: request.timeoutMs,
      ...(signal && { signal }),
      onEvent: (event) => {
        if (isProgress(event)) request.onProgress?.(event);
      },
    });
    const used = usageOf(outcome, request.inputs, split.partitions, memory?.bytes);
    if (outcome.verdict === 'cancelled') throw abortReason(signal);
    if (outcome.verdict !== 'ok') {
      const freed = await removeOutputs(outputs);
      const proof = { ...outcome.proof, bytesLeft: Math.max(0, outcome.proof.bytesLeft - freed) };
      throw failureOf({ ...outcome, proof }, { used, ...request });
    }
    const done = outcome.result as unknown as JobDone;
    ended = true;
    return {
      verdict: 'ok',
      ...rowsIn(done, outDir, memory?.dir),
      further: Object.fromEntries(
        further.map(({ step, output: { dir } }, index) => [step, rowsIn(done.further![index]!, dir)]),
      ),
      rows: done.rows,
      bytes: done.bytes,
      spillCount: done.spill_count,
      spilledBytes: done.spilled_bytes,
      settings: { ...split, cpuset, hashJoin: job.engine.hashJoin },
      used,
      proof: outcome.proof,
    };
  } finally {
    // A killed engine leaves its spill files; nobody else knows them.
    for (const name of ['spill', 'links', 'job.json'])
      await rm(join(attemptDir, name), { recursive: true, force: true });
    if (!ended) await removeOutputs(outputs);
  }
}

/** Whether rows may go to Parquet, whose row groups take their time. */
const encodes = (output: DatafusionRequest['output']): boolean =>
  output.kind === 'parquet' || (output.kind === 'arrow' && output.parquetPastBytes !== undefined);

const PART = 'part';

function jobOutput(
  output: DatafusionRequest['output'],
  seen: { out: string; memory: string },
  onScratch: boolean,
  rowGroupBytes: number,
): JobOutput {
  switch (output.kind) {
    case 'fifo':
      return { kind: 'fifo', path: join(seen.out, basename(output.path)) };
    case 'arrow':
      return {
        ...{ kind: 'arrow', dir: seen.out, name: PART, onScratch, rowGroupBytes },
        ...(output.parquetPastBytes !== undefined && { parquetPastBytes: output.parquetPastBytes }),
        ...(output.memory && { memory: { dir: seen.memory, bytes: output.memory.bytes } }),
      };
    case 'parquet':
      return { kind: 'parquet', dir: seen.out, name: PART, onScratch, rowGroupBytes };
  }
}

/** Files of an output, in memory where it was kept there. */
function rowsIn({ parts, schema }: JobRows, dir: string, memoryDir = dir): DatafusionRows {
  return {
    parts: parts.map(({ kind, file, rows, bytes, inMemory }) => ({
      kind,
      uri: pathToFileURL(join(inMemory ? memoryDir : dir, file)).href,
      rows,
      bytes,
      ...(inMemory && { inMemory }),
    })),
    schema,
  };
}

/** Removes what the job wrote, whole or not; answers how much of it was in memory, in whole pages. */
async function removeOutputs(outputs: DatafusionRequest['output'][]): Promise<number> {
  const files = outputs.filter((output) => output.kind !== 'fifo');
  const memory = files.flatMap((output) => ('memory' in output && output.memory ? [output.memory.dir] : []));
  let freed = 0;
  for (const dir of [...memory, ...files.map((output) => output.dir)]) {
    for (const name of (await readdir(dir).catch(() => [])).filter((found) => /^\.?part-\d{5}\./.test(found))) {
      const path = join(dir, name);
      if (memory.includes(dir)) freed += await stat(path).then(({ blocks }) => blocks * 512, () => 0); // prettier-ignore
      await rm(path, { force: true });
    }
  }
  return freed;
}

/** Makes a directory that the container's user may write to; as root, one that is there is given to that user. */
async function makeWritable(dir: string, user: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  if (process.getuid?.() === 0) {
    await chown(dir, ...ids(user));
    await chmod(dir, 0o755);
  }
}

/** Makes the FIFO that a job will write to, and its directory: a reader opens it before, or while, the job starts. */
export async function prepareFifo(path: string, user: string = containerUser()): Promise<void> {
  await makeWritable(dirname(path), user);
  await makeFifo(path, user);
}

async function makeFifo(path: string, user: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found) await execa('mkfifo', ['--mode', '600', path]);
  else if (!found.isFIFO()) throw new SpillwayError('InvalidInput', `${path} is no FIFO; give a path that is free`);
  if (process.getuid?.() === 0) await chown(path, ...ids(user));
}

function ids(user: string): [number, number] {
  const [uid = 0, gid = uid] = user.split(':').map(Number);
  return [uid, gid];
}

async function requireInputs(inputs: Record<string, HandoffRef>): Promise<void> {
  for (const [table, { parts }] of Object.entries(inputs)) {
    for (const { uri } of parts) {
      const path = fileURLToPath(uri);
      if (!(await stat(path).catch(() => undefined))) {
        throw new SpillwayError(
          'HandoffLost',
          `rows of table ${table} are gone (${path}); the step that makes them has to run again`,
        );
      }
    }
  }
}

function usageOf(
  outcome: ContainerOutcome,
  inputs: Record<string, HandoffRef>,
  partitions: number,
  shmBytes?: number,
): StepUsage {
  const result = outcome.result as Partial<JobDone> | undefined;
  const full = (result?.spill_count ?? 0) > 0 ? result?.pool_bytes : undefined;
  return {
    // Without groups the runner's own samples are all there is.
    peakBytes: Math.max(outcome.peakBytes, result?.peak_rss_anon ?? 0),
    scratchPeakBytes: result?.scratch_peak ?? 0,
    inputBytes: Object.values(inputs).reduce((sum, { bytes }) => sum + bytes, 0),
    outputBytes: result?.bytes ?? 0,
    rows: result?.rows ?? 0,
    seconds: outcome.seconds,
    verdict: outcome.verdict,
    ...(shmBytes !== undefined && { shmBytes }),
    ...(full !== undefined && { fullPool: { bytes: full, partitions } }),
  };
}

function isProgress(event: ContainerEvent): event is ContainerEvent & JobProgress {
  return event.ev === 'progress';
}

function abortReason(signal: AbortSignal | undefined): unknown {
  return signal?.reason ?? new DOMException('The step was cancelled', 'AbortError');
}
