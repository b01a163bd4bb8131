// Longer than most: everything that a test does to the product from outside, in one place.
import { type Client, type Connection, WorkflowNotFoundError } from '@temporalio/client';
import { execa } from 'execa';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Parts } from '../../src/contracts/parts.ts';
import type { PoolStatus } from '../../src/contracts/pool.ts';
import { PoolMessage, poolWorkflowId, TaskQueue } from '../../src/contracts/pool.ts';
import { connectPostgres } from '../../src/engines/postgres/connection.ts';
import { openCgroupTree, poolPath } from '../../src/host/cgroup-tree.ts';
import { connect } from '../../src/worker/connect.ts';
import { exampleBundle } from './example-bundle.ts';
import { sharedHome, sharedParts } from './provision-home.ts';
import { leftoversOf, outsideOf } from './stack-leftovers.ts';
import { type WorkerOptions, WorkerProcess } from './stack-worker.ts';
import { eventually } from './stack-waiting.ts';

/** The folder of the package. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const bin = join(root, 'bin', 'spillway.js');
export const exampleFolder = join(root, 'examples', 'daily-revenue');

/** How a command ended, and what it said. */
export interface Ran {
  exit: number | undefined;
  signal: string | undefined;
  stdout: string;
  stderr: string;
  seconds: number;
}

/** A command that has not ended. */
export interface Running {
  pid: number | undefined;
  ran: Promise<Ran>;
  kill(signal: NodeJS.Signals): void;
}

/** A run as `temporal workflow describe` shows it. */
export interface Described {
  /** `RUNNING`, `COMPLETED`, `FAILED`, `CANCELED`, `TERMINATED`. */
  status: string;
  pending: {
    activityId: string;
    activityType: { name: string };
    attempt?: number;
    lastFailure?: { message: string };
  }[];
}

export interface RunOptions {
  /** Variables beside the stack's own. */
  env?: Record<string, string>;
  /** @defaultValue the stack's own directory, where its configuration file lies */
  cwd?: string;
}

/** Nothing named after a run may be left for longer than this. */
const CLEAN_WITHIN_MS = 60_000;

/**
 * All real parts, with a pool, a host lock, a configuration and a schema of one test file: a worker that somebody runs on
 * this host beside the tests is neither disturbed nor used. Parts are started once for all files, in the tests' home.
 */
export class Stack {
  readonly parts: Parts;
  readonly pool: string;
  readonly client: Client;
  /** Directory with the configuration file, where commands run. */
  readonly directory: string;
  /** Schema of this file's tables; dropped at the end. */
  readonly schema: string;
  /** What another file that failed had left when this one began: not ours to fail for. */
  readonly before = new Set<string>();
  readonly #connection: Connection;
  readonly #workers = new Set<WorkerProcess>();

  private constructor(
    topic: string,
    parts: Parts,
    connected: { client: Client; connection: Connection },
    config: object,
  ) {
    this.parts = parts;
    // Memory groups, containers and the lock belong to the host: tests of another checkout may run on it.
    this.pool = `test-${topic}-${process.pid}`;
    this.schema = `test_${topic.replaceAll('-', '_')}`;
    this.client = connected.client;
    this.#connection = connected.connection;
    mkdirSync(join(sharedHome, 'tmp'), { recursive: true });
    this.directory = mkdtempSync(join(sharedHome, 'tmp', `${topic}-`));
    writeFileSync(join(this.directory, 'spillway.config.json'), JSON.stringify(config));
  }

  /** Brings the parts up, or finds them up. `config` is what the configuration file says beside the example's workflows. */
  static async open(topic: string, config: object = {}): Promise<Stack> {
    await execa(process.execPath, ['-e', `import('./scripts/bootstrap.mjs').then((all) => all.build())`], {
      cwd: root,
    });
    const parts = await sharedParts();
    const connected = await connect(parts.temporal);
    const workflows = join(exampleFolder, 'workflows.ts');
    const bundle = await exampleBundle(root, workflows);
    const stack = new Stack(topic, parts, connected, { workflows, bundle, ...config });
    await stack.sql(`drop schema if exists ${stack.schema} cascade`);
    for (const line of await outsideOf(stack)) stack.before.add(line);
    return stack;
  }

  /** Settings of this stack, as flags of any command. */
  get flags(): string[] {
    return ['--home', sharedHome, '--pool-name', this.pool, '--pool-host-lock', this.pool];
  }

  /** What every command gets of our environment; nothing that names another pool or server. */
  get env(): Record<string, string> {
    return { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/', LANG: 'C.UTF-8' };
  }

  /** Runs `spillway <command> …` to its end. */
  spillway(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Ran> {
    return this.#run(process.execPath, [bin, command, ...this.flags, ...args], options);
  }

  /** Runs `temporal workflow <command> …` to its end, against the stack's server. */
  temporal(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const { cli, address, namespace } = this.parts.temporal;
    return this.#run(cli!, ['workflow', command, ...args, '--address', address, '--namespace', namespace], options);
  }

  #run(program: string, args: string[], options: RunOptions): Promise<Ran> {
    return this.#spawn(program, args, options).ran;
  }

  /** Starts `spillway <command> …`; the caller may send it a signal before it ends. */
  spawnSpillway(command: string, args: readonly string[]): Running {
    return this.#spawn(process.execPath, [bin, command, ...this.flags, ...args], {});
  }

  #spawn(program: string, args: string[], { env = {}, cwd = this.directory }: RunOptions): Running {
    const startedAtMs = Date.now();
    const child = execa(program, args, {
      cwd,
      env: { ...this.env, ...env },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      timeout: 240_000,
    });
    const ran = child.then(({ exitCode, signal, stdout, stderr }) => ({
      exit: exitCode,
      signal,
      stdout,
      stderr,
      seconds: (Date.now() - startedAtMs) / 1000,
    }));
    return { pid: child.pid, ran, kill: (signal) => void child.kill(signal) };
  }

  /** Starts a worker process and waits until it polls. */
  async worker(options: WorkerOptions & { bin?: string } = {}): Promise<WorkerProcess> {
    const worker = this.spawnWorker(options);
    await worker.polling();
    return worker;
  }

  /** Starts a worker process, which may as well refuse to run. */
  spawnWorker({ bin: program = bin, ...options }: WorkerOptions & { bin?: string } = {}): WorkerProcess {
    // Another build of the package runs its own workflows.
    const own = program === bin ? [] : ['--from-sources'];
    const worker = new WorkerProcess([program, 'worker', ...this.flags, ...own], {
      cwd: this.directory,
      env: this.env,
      ...options,
    });
    this.#workers.add(worker);
    return worker;
  }

  /** Processes of workers that are alive. */
  get workers(): WorkerProcess[] {
    return [...this.#workers].filter((worker) => worker.alive);
  }

  /** Starts a run through the Temporal command line; answers its workflow id. */
  async start(type: string, args: readonly string[], workflowId: string): Promise<string> {
    const ran = await this.temporal('start', [
      ...['--type', type, '--task-queue', TaskQueue.WORKFLOWS, '--workflow-id', workflowId],
      ...args,
    ]);
    if (ran.exit !== 0) throw new Error(`temporal workflow start ended with ${ran.exit}: ${ran.stderr}`);
    return workflowId;
  }

  /** Starts a pipeline through the Temporal command line. */
  startJob(job: { name: string }, workflowId = this.id(job.name)): Promise<string> {
    return this.start('eltPipeline', ['--input', JSON.stringify(job)], workflowId);
  }

  /** A workflow id that no other test has. */
  id(name: string): string {
    return `${this.pool}-${name}-${Date.now().toString(36)}-${(counter += 1)}`;
  }

  /** A session of its own on the database of the stack; who asks for it ends it. */
  async connect(): Promise<Awaited<ReturnType<typeof connectPostgres>>> {
    const { url, passwordFile } = this.parts.postgres;
    const client = await connectPostgres(url, passwordFile && readFileSync(passwordFile, 'utf8').trim());
    client.on('error', () => undefined); // tests stop the server; statements reject by themselves
    return client;
  }

  /** Reads and writes the database of the stack. */
  async sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    const client = await this.connect();
    try {
      return (await client.query<Row>(text, values)).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  /** What the pool says of itself. */
  status(): Promise<PoolStatus> {
    return this.client.workflow.getHandle(poolWorkflowId(this.pool)).query<PoolStatus>(PoolMessage.STATUS);
  }

  /** Waits for the end of a run; rejects when it failed. */
  result(workflowId: string): Promise<unknown> {
    return this.client.workflow.getHandle(workflowId).result();
  }

  /** What a person sees of a run: its status and its pending activities. */
  async describe(workflowId: string): Promise<Described> {
    const ran = await this.temporal('describe', ['--workflow-id', workflowId, '--output', 'json']);
    if (ran.exit !== 0) throw new Error(`temporal workflow describe ended with ${ran.exit}: ${ran.stderr}`);
    const { workflowExecutionInfo, pendingActivities } = JSON.parse(ran.stdout) as {
      workflowExecutionInfo: { status: string };
      pendingActivities?: Described['pending'];
    };
    return {
      status: workflowExecutionInfo.status.replace('WORKFLOW_EXECUTION_STATUS_', ''),
      pending: pendingActivities ?? [],
    };
  }

  /** The summaries of a run's activities, as the Temporal UI shows them, in order. */
  async summaries(workflowId: string): Promise<string[]> {
    const { events } = await this.client.workflow.getHandle(workflowId).fetchHistory();
    return (events ?? []).flatMap(({ userMetadata, activityTaskScheduledEventAttributes }) =>
      activityTaskScheduledEventAttributes && userMetadata?.summary?.data
        ? [JSON.parse(Buffer.from(userMetadata.summary.data).toString()) as string]
        : [],
    );
  }

  /** Codes that a run's activities failed with, in order. */
  async failures(workflowId: string): Promise<string[]> {
    const { events } = await this.client.workflow.getHandle(workflowId).fetchHistory();
    return (events ?? []).flatMap(({ activityTaskFailedEventAttributes: failed }) => {
      const code = failed?.failure?.applicationFailureInfo?.type;
      return code ? [code] : [];
    });
  }

  /**
   * Waits until nothing is left of any run: containers, queries, sessions, staging tables, files, leases.
   * A worker has to be alive, as it is who cleans up. Raises an error that names what is left after a minute.
   */
  async clean(): Promise<void> {
    if (this.workers.length === 0) await this.worker();
    await eventually(
      async () => {
        const left = await leftoversOf(this);
        if (left.length > 0) throw new Error(`left behind: ${left.join('; ')}`);
        return true;
      },
      { withinMs: CLEAN_WITHIN_MS, everyMs: 500 },
    );
  }

  /** Ends the workers and all that bears the stack's names; the parts stay for the next file. */
  async close(): Promise<void> {
    // What draining does is the business of tests that ask for it; here it takes 6 s of every file.
    await Promise.all(this.workers.map((worker) => worker.kill()));
    await this.sql(`drop schema if exists ${this.schema} cascade`);
    await this.client.workflow
      .getHandle(poolWorkflowId(this.pool))
      .terminate('the tests are over')
      .catch(ignoreMissing);
    await this.#connection.close();
    const cgroups = await openCgroupTree();
    if (cgroups.version !== 'none') await cgroups.remove(poolPath(this.pool));
    const run = join(sharedHome, 'run');
    for (const name of readdirSync(run)) if (name.startsWith(`pool-${this.pool}-`)) rmSync(join(run, name));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** No worker came so far as to open the pool. */
function ignoreMissing(error: unknown): void {
  if (!(error instanceof WorkflowNotFoundError)) throw error;
}

let counter = 0;
