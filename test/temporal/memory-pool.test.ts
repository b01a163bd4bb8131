import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WithStartWorkflowOperation } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, type WorkflowBundle, Worker } from '@temporalio/worker';
import { PoolClient } from '../../activities/pool-client.ts';
import { createLedgerActivities } from '../../activities/ledger.ts';
import { type Demote, type Demoted, PoolMessage, poolWorkflowId, TaskQueue } from '../../src/contracts/pool.ts';
import type { ReconcileRequest } from '../../src/contracts/steps.ts';
import { emptyPool, type PoolState } from '../../src/policy/pool/state.ts';
import { NEWEST_POLICY } from '../../src/policy/pool/versions.ts';
import { GiB } from '../../src/policy/sizes.ts';
import { StandingCharges } from '../../src/worker/standing.ts';
import { historyOf, readHistory } from './history.ts';
import { ask, end, proof } from './pool-double.ts';
import { silenceTemporal } from './stage.ts';
import { poolBundle } from './stage-bundles.ts';
import { clientOf, temporalServer } from './temporal-server.ts';

let env: TestWorkflowEnvironment;
let bundle: WorkflowBundle;
let pool: PoolClient;

beforeAll(async () => {
  silenceTemporal();
  env = await temporalServer();
  bundle = await poolBundle();
  pool = new PoolClient(clientOf(env));
}, 600_000);
afterAll(() => env.teardown());

const announce = (name: string, limitBytes: number) =>
  pool.announce(name, {
    host: 'here',
    limitBytes,
    scratchLimitBytes: 100 * GiB,
    evidence: { alive: [], cgroup: 'none', runtime: 'process' },
  });

/** Runs the pool's Worker, and one for control acts that answers as told, while the body works. */
async function withPool(
  name: string,
  body: (seen: ReconcileRequest[], demotions: Demote[]) => Promise<void>,
  moved = Promise.resolve(),
): Promise<void> {
  const seen: ReconcileRequest[] = [];
  const demotions: Demote[] = [];
  const workers = await Promise.all([
    Worker.create({ connection: env.nativeConnection, taskQueue: TaskQueue.POOL, workflowBundle: bundle }),
    Worker.create({
      connection: env.nativeConnection,
      taskQueue: TaskQueue.control(name),
      activities: {
        ...createLedgerActivities({ client: clientOf(env), lastSeenRun: () => undefined }),
        reconcile: async (request: ReconcileRequest) => {
          seen.push(request);
          return { kind: 'free', proof: proof(), because: 'nothing carries it' };
        },
        demoteRows: async (request: Demote): Promise<Demoted> => {
          demotions.push(request);
          await moved;
          return { ...request, outcome: 'moved', because: 'a double' };
        },
      },
    }),
  ]);
  const runs = workers.map((worker) => worker.run());
  try {
    await body(seen, demotions);
  } finally {
    workers.forEach((worker) => worker.shutdown());
    await Promise.all(runs);
    await env.client.workflow
      .getHandle(poolWorkflowId(name))
      .terminate('the test is over')
      .catch(() => undefined);
  }
}

const processId = { pid: 1, startedAt: 1 };

describe('the memory pool as a workflow', () => {
  test('lends nothing before a host announced its limits, then serves who waited', async () => {
    await withPool('opening', async () => {
      const first = ask();
      expect(await pool.acquire('opening', first)).toMatchObject({ kind: 'queued' });
      await announce('opening', 4 * GiB);
      expect(await pool.acquire('opening', first)).toMatchObject({ kind: 'granted', bytes: GiB });
    });
  }, 60_000);

  test('a host that nobody answers is told where to look', async () => {
    const unanswered = new PoolClient(clientOf(env));
    jest.spyOn(unanswered, 'announce').mockImplementation(() =>
      // What the client raises past its deadline, without half a minute of waiting for it.
      env.client.withDeadline(Date.now() + 300, () =>
        env.client.workflow.executeUpdateWithStart(PoolMessage.ANNOUNCE, {
          args: [{}],
          startWorkflowOperation: new WithStartWorkflowOperation('memoryPool', {
            workflowId: poolWorkflowId('unanswered'),
            taskQueue: 'polled by nobody',
            workflowIdConflictPolicy: 'USE_EXISTING',
          }),
        }),
      ),
    );
    const config = { pool: { name: 'unanswered' }, hardware: {}, temporal: { address: 'here:7233', namespace: 'n' } };
    const engines = { evidence: () => Promise.resolve({}) };
    const { signal } = new AbortController();
    const log = { info: () => undefined, warn: () => undefined };
    const host = { name: 'here' };
    const standing = new StandingCharges(config as never, unanswered, host as never, engines as never, signal, log);
    await expect(standing.announce()).rejects.toMatchObject({
      code: 'EngineUnreachable',
      message: expect.stringContaining(
        'temporal workflow describe --workflow-id pool:unanswered --address here:7233 --namespace n',
      ),
    });
    await env.client.workflow.getHandle(poolWorkflowId('unanswered')).terminate('the test is over');
  });

  test('gives each attempt a higher token, and refuses an end with a lower one', async () => {
    await withPool('tokens', async () => {
      await announce('tokens', 4 * GiB);
      const one = ask();
      await pool.acquire('tokens', one);
      const runId = 'whichever: a process holds it';
      const first = await pool.begin('tokens', { leaseId: one.leaseId, runId, host: 'here', process: processId });
      const second = await pool.begin('tokens', { leaseId: one.leaseId, runId, host: 'here', process: processId });
      if (first === 'stale' || second === 'stale') throw new Error('a held lease begins');
      expect(second.token).toBeGreaterThan(first.token);
      await pool.end('tokens', [end(one.leaseId, first.token)]);
      expect((await pool.status('tokens'))!.lentBytes).toBe(GiB);
      await pool.end('tokens', [end(one.leaseId, second.token)]);
      expect((await pool.status('tokens'))!.lentBytes).toBe(0);
      expect(await pool.begin('tokens', { leaseId: one.leaseId, runId, host: 'here', process: processId })).toBe(
        'stale',
      );
    });
  }, 60_000);

  test('hears many at once in few messages, each answered as if it were alone', async () => {
    await withPool('together', async () => {
      await announce('together', 60 * GiB);
      const asks = Array.from({ length: 80 }, () => ask());
      const answers = await Promise.all(asks.map((one) => pool.acquire('together', one)));
      expect(answers.filter(({ kind }) => kind === 'granted')).toHaveLength(60);
      expect(answers.filter(({ kind }) => kind === 'queued')).toHaveLength(20);
      const held = asks.slice(0, 60); // those who asked first
      const begun = await Promise.all(
        held.map(({ leaseId }) =>
          pool.begin('together', { leaseId, runId: 'of nobody', host: 'here', process: processId }),
        ),
      );
      const tokens = begun.map((one) => (one === 'stale' ? 0 : one.token));
      expect(new Set(tokens).size).toBe(60);
      await Promise.all([
        ...held.map(({ leaseId }, index) => pool.end('together', [end(leaseId, tokens[index]!)])),
        ...asks.slice(60).map(({ leaseId }) => pool.withdraw('together', [{ leaseId }])),
      ]);
      expect(await pool.status('together')).toMatchObject({ lentBytes: 0, queue: [], leases: [] });
      const updates = (await historyOf(env.client.workflow.getHandle(poolWorkflowId('together')))).events
        .map((event) => event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input.name)
        .filter((name) => name !== undefined);
      expect(updates.filter((name) => name === PoolMessage.SEVERAL)).not.toHaveLength(0);
      expect(updates.length).toBeLessThan(20); // 221 messages
    });
  }, 60_000);

  test('a message that cannot be read is refused, and stops nobody', async () => {
    await withPool('misread', async () => {
      await announce('misread', 4 * GiB);
      const handle = env.client.workflow.getHandle(poolWorkflowId('misread'));
      const typo = handle.executeUpdate(PoolMessage.OPERATE, { args: [{ act: 'puase', because: 'a disk' }] });
      await expect(typo).rejects.toMatchObject({ cause: { message: expect.stringContaining('Did you mean pause?') } });
      // By hand: no reply could say what is wrong.
      await handle.signal(PoolMessage.ACQUIRE, {});
      await handle.signal(PoolMessage.END, 'run/step#0');
      await handle.signal(PoolMessage.SUSPECT, null);
      const [good, wrong] = [ask(), ask({ bytes: 'much' as never })];
      const answers = await Promise.allSettled([pool.acquire('misread', good), pool.acquire('misread', wrong)]);
      expect(answers[0]).toMatchObject({ value: { kind: 'granted' } });
      expect(answers[1]).toMatchObject({
        reason: { cause: { message: 'acquire.bytes must be a number of bytes from 0, got "much". Change it.' } },
      });
      expect(await pool.status('misread')).toMatchObject({ lentBytes: GiB, leases: [{ leaseId: good.leaseId }] });
      const { events } = await historyOf(handle);
      expect(events.filter(({ eventType }) => eventType.includes('TASK_FAILED'))).toEqual([]);
    });
  }, 60_000);

  test('a worker of an earlier release, which does not know the common message, is told each alone', async () => {
    const worker = await Worker.create({
      connection: env.nativeConnection,
      taskQueue: TaskQueue.POOL,
      workflowBundle: await bundleWorkflowCode({
        workflowsPath: fileURLToPath(new URL('./pool-without-several.ts', import.meta.url)),
        logger: new DefaultLogger('ERROR', () => undefined),
      }),
    });
    const running = worker.run();
    const handle = env.client.workflow.getHandle(poolWorkflowId('older'));
    try {
      const begin = { leaseId: 'run/step#0', runId: 'run', host: 'here', process: processId };
      expect((await pool.acquire('older', ask())).kind).toBe('queued'); // by signal: it starts the pool
      const one = ask();
      const answers = await Promise.all([
        pool.acquire('older', one),
        pool.begin('older', begin),
        pool.drop('older', [{ dataId: 'run/step', proof: proof() }]),
      ]);
      expect(answers).toEqual([{ kind: 'granted', bytes: one.bytes, because: 'it fits' }, { token: 7 }, undefined]);
      expect(await handle.query<string[]>('dropped')).toEqual(['run/step']);
    } finally {
      worker.shutdown();
      await running;
      await handle.terminate('the test is over').catch(() => undefined);
    }
  }, 60_000);

  // A run that lived less than five seconds is continued by the server that much later, unless a signal comes: real pools live longer.
  test('keeps every lease and ask over continue-as-new', async () => {
    await env.client.workflow.start('memoryPool', {
      workflowId: poolWorkflowId('continuing'),
      taskQueue: TaskQueue.POOL,
      args: [{ pool: 'continuing', continueAfterEvents: 60 }],
    });
    await withPool('continuing', async () => {
      await announce('continuing', 5 * GiB);
      const asks = Array.from({ length: 24 }, () => ask());
      for (const one of asks) await pool.acquire('continuing', one);
      const runs = new Set<string>();
      for (const one of asks) {
        let answer = await pool.acquire('continuing', one);
        for (let i = 0; i < 200 && answer.kind === 'queued'; i++) answer = await pool.acquire('continuing', one);
        expect(answer.kind).toBe('granted');
        await pool.withdraw('continuing', [{ leaseId: one.leaseId }]);
        runs.add((await env.client.workflow.getHandle(poolWorkflowId('continuing')).describe()).runId);
      }
      expect(runs.size).toBeGreaterThan(1);
      expect(await pool.status('continuing')).toMatchObject({ lentBytes: 0, queue: [] });
    });
  }, 60_000);

  test('leaves a long history behind when nothing is under way, and grants meanwhile', async () => {
    const name = 'renewed';
    const handle = env.client.workflow.getHandle(poolWorkflowId(name));
    await env.client.workflow.start('memoryPool', {
      workflowId: poolWorkflowId(name),
      taskQueue: TaskQueue.POOL,
      args: [{ pool: name, continueIdleAfterEvents: 60 }],
    });
    let finish = (): void => undefined;
    const moving = new Promise<void>((resolve) => (finish = resolve));
    await withPool(
      name,
      async (_seen, demotions) => {
        await announce(name, 100 * GiB);
        const made = ask({ leaseId: 'b/made#0', step: 'made', bytes: 40 * GiB });
        await pool.acquire(name, made);
        const begun = await pool.begin(name, { leaseId: made.leaseId, runId: 'any', host: 'here', process: processId });
        if (begun === 'stale') throw new Error('a held lease begins');
        await pool.end(name, [
          { ...end(made.leaseId, begun.token), keep: [{ dataId: 'b/made', bytes: 40 * GiB, scratchBytes: 0 }] },
        ]);
        const wide = ask({ leaseId: 'a/wide#0', step: 'wide', bytes: 70 * GiB });
        await pool.acquire(name, wide);
        while (demotions.length === 0) await sleep(20);
        // Rows are being copied: the pool is under way, and goes on giving what there is, far past its length.
        const { runId } = await handle.describe();
        const begunAtMs = Date.now();
        while (Date.now() - begunAtMs < 7_000) {
          const small = ask({ leaseId: `c/${Date.now()}#0`, priority: 0 });
          expect(await pool.acquire(name, small)).toMatchObject({ kind: 'granted' });
          await pool.withdraw(name, [{ leaseId: small.leaseId }]);
          await sleep(200);
        }
        const { runId: same, historyLength } = await handle.describe();
        expect([same, historyLength > 120]).toEqual([runId, true]);
        finish();
        let answer = await pool.acquire(name, wide);
        for (let i = 0; i < 200 && answer.kind === 'queued'; i++) answer = await pool.acquire(name, wide);
        expect(answer).toMatchObject({ kind: 'granted', bytes: 70 * GiB });
        while ((await handle.describe()).runId === runId) await sleep(20);
        const left = await historyOf(env.client.workflow.getHandle(poolWorkflowId(name), runId));
        await Worker.runReplayHistory({ workflowBundle: bundle }, readHistory(left));
        expect(await pool.status(name)).toMatchObject({ lentBytes: 70 * GiB, queue: [] });
      },
      moving,
    );
  }, 60_000);

  test('a terminated pool opens again from its last ledger, and lends nothing before limits are announced', async () => {
    await withPool('revived', async () => {
      await announce('revived', 4 * GiB);
      const held = ask({ bytes: 3 * GiB });
      await pool.acquire('revived', held);
      const waiting = ask({ bytes: 2 * GiB });
      expect(await pool.acquire('revived', waiting)).toMatchObject({ kind: 'queued' });
      await env.client.workflow.getHandle(poolWorkflowId('revived')).terminate('by hand');
      expect(await pool.acquire('revived', ask())).toMatchObject({ kind: 'queued' });
      let status = (await pool.status('revived'))!;
      for (let i = 0; i < 100 && status.queue.length < 2; i++) status = (await pool.status('revived'))!;
      expect(status.leases.map((lease) => lease.leaseId)).toEqual([held.leaseId]);
      expect(status.queue.map((lease) => lease.leaseId)).toContain(waiting.leaseId);
      expect(status.limitBytes).toBe(0);
      await announce('revived', 4 * GiB);
      expect(await pool.status('revived')).toMatchObject({ lentBytes: 3 * GiB });
    });
  }, 60_000);

  test('stays shut while nobody can read its last run, says how it opens without it, and opens when that run is deleted', async () => {
    const name = 'unreadable';
    const workflowId = poolWorkflowId(name);
    const { firstExecutionRunId: runId } = await env.client.workflow.start('memoryPoolOfAnotherRelease', {
      workflowId,
      taskQueue: TaskQueue.POOL,
    });
    await env.client.workflow.getHandle(workflowId).terminate('by hand');
    await withPool(name, async () => {
      const asked = ask();
      const first = pool.acquire(name, asked);
      const because = async (): Promise<string | undefined> => {
        const { raw } = await env.client.workflow.getHandle(workflowId).describe();
        return raw.pendingActivities?.[0]?.lastFailure?.message ?? undefined;
      };
      let said = await because();
      for (let i = 0; i < 100 && said === undefined; i++, said = await because()) await sleep(100);
      expect(said).toContain(`temporal workflow delete --workflow-id ${workflowId} --run-id ${runId}`);
      const { workflowService } = env.client;
      await workflowService.deleteWorkflowExecution({ namespace: 'default', workflowExecution: { workflowId, runId } });
      expect(await first).toMatchObject({ kind: 'queued' });
      await announce(name, 4 * GiB);
      expect(await pool.acquire(name, asked)).toMatchObject({ kind: 'granted', bytes: GiB });
    });
  }, 120_000);

  test('of the policy before goes on by it until it continues as new, with runs that hold and wait; then the next one serves them', async () => {
    const name = 'upgraded';
    await env.client.workflow.start('memoryPool', {
      workflowId: poolWorkflowId(name),
      taskQueue: TaskQueue.POOL,
      args: [{ pool: name, continueAfterEvents: 80, state: emptyPool(name, 1) }],
    });
    await withPool(name, async (_seen, demotions) => {
      await announce(name, 100 * GiB);
      for (const run of ['a', 'b']) {
        const made = ask({ leaseId: `${run}/made#0`, step: 'made', bytes: 40 * GiB });
        await pool.acquire(name, made);
        const begun = await pool.begin(name, { leaseId: made.leaseId, runId: 'any', host: 'here', process: processId });
        if (begun === 'stale') throw new Error('a held lease begins');
        const keep = [{ dataId: `${run}/made`, bytes: 40 * GiB, scratchBytes: 0 }];
        await pool.end(name, [{ ...end(made.leaseId, begun.token), keep }]);
      }
      const wide = ask({ leaseId: 'a/wide#0', step: 'wide', bytes: 55 * GiB });
      expect(await pool.acquire(name, wide)).toMatchObject({ kind: 'queued' });
      const policy = async (): Promise<number> =>
        (await env.client.workflow.getHandle(poolWorkflowId(name)).query<PoolState>(PoolMessage.LEDGER)).policyVersion;
      expect([await policy(), demotions]).toEqual([1, []]);
      let answer = await pool.acquire(name, wide);
      for (let i = 0; i < 200 && answer.kind === 'queued'; i++) answer = await pool.acquire(name, wide);
      expect(answer).toMatchObject({ kind: 'granted', bytes: 55 * GiB });
      expect([await policy(), demotions.map(({ dataId }) => dataId)]).toEqual([NEWEST_POLICY, ['b/made']]);
    });
  }, 60_000);

  test('a suspected lease is looked after by a control act before its bytes go back', async () => {
    await withPool('suspects', async (seen) => {
      await announce('suspects', 4 * GiB);
      const one = ask();
      await pool.acquire('suspects', one);
      await pool.suspect('suspects', { leaseId: one.leaseId, because: 'its holder is closed' });
      for (let i = 0; i < 100 && (await pool.status('suspects'))!.lentBytes > 0; i++)
        await new Promise((done) => setTimeout(done, 50));
      expect(seen.map((request) => request.leaseId)).toEqual([one.leaseId]);
      expect((await pool.status('suspects'))!.lentBytes).toBe(0);
    });
  }, 60_000);
});
