import { setTimeout as sleep } from 'node:timers/promises';
import { PoolClient } from '../../../activities/pool-client.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import type { Operate, PoolStatus } from '../../contracts/pool.ts';
import { nearestName } from '../../policy/nearest-name.ts';
import { formatBytes, parseBytes } from '../../policy/sizes.ts';
import { expectedSeconds } from '../../policy/step-history.ts';
import { connect } from '../../worker/connect.ts';
import { Exit } from '../exit.ts';
import { table, type Output } from '../output.ts';

export interface PoolOptions {
  /** `pause`, `resume`, `drain`, `resize`, `kick`, `pin` or `forget`; absent shows the pool. */
  act?: string;
  /** What the act takes: a reason, a size, a lease, a step. */
  what?: string;
  /** What `pin` pins to. */
  size?: string;
  /** Why, for people who look at the pool. */
  because?: string;
  json: boolean;
  /** Show it again and again until interrupted. */
  watch: boolean;
  /** Shows what it remembers of steps instead. */
  estimates: boolean;
}

const ACTS = ['pause', 'resume', 'drain', 'resize', 'kick', 'pin', 'forget'] as const;
const WATCH_MS = 2_000;

/** Shows who holds and who waits, in bytes, or tells the pool what an operator wants. */
export async function poolCommand(
  config: ResolvedConfig,
  options: PoolOptions,
  output: Output,
  signal: AbortSignal,
): Promise<Exit> {
  const said = options.act === undefined ? undefined : readAct(options.act, options);
  const { client, connection } = await connect(config.temporal);
  const pool = new PoolClient(client);
  const name = config.pool.name;
  try {
    if (said) {
      await statusOf(pool, name); // says what to do where no pool runs
      const { kind, because } = await pool.operate(name, said);
      if (options.json && options.act !== 'drain') output.out(JSON.stringify({ kind, because }));
      else output.err(`pool ${name}: ${because}`);
      if (kind === 'refused') return Exit.BAD_INPUT;
      return options.act === 'drain' ? await drained(pool, name, options, output, signal) : Exit.OK;
    }
    if (options.estimates) return await showEstimates(pool, name, options, output);
    for (;;) {
      const status = await statusOf(pool, name);
      if (options.json) output.out(JSON.stringify(status, null, options.watch ? undefined : 2));
      else show(status, output);
      if (!options.watch) return Exit.OK;
      if (!(await pause(signal))) return Exit.OK;
      if (!options.json) output.out('');
    }
  } finally {
    await connection.close();
  }
}

function readAct(act: string, { what, size, because }: PoolOptions): Operate {
  const refuse = (message: string): never => {
    throw new SpillwayError('InvalidInput', message);
  };
  switch (act) {
    case 'pause':
    case 'drain':
      return { act: 'pause', because: because ?? what ?? 'by hand' };
    case 'resume':
      return { act: 'resume' };
    case 'resize': {
      const limitBytes = what === undefined ? undefined : parseBytes(what);
      return limitBytes === undefined
        ? refuse(`spillway pool resize takes a size such as 400GB, ${what === undefined ? 'but none was given' : `got ${what}`}. Write \`spillway pool resize 400GB\`.`) // prettier-ignore
        : { act: 'resize', limitBytes };
    }
    case 'kick':
      return what === undefined
        ? refuse('spillway pool kick takes the id of a lease, but none was given. `spillway pool --json` has them.')
        : { act: 'kick', leaseId: what, because: because ?? 'by hand' };
    case 'pin': {
      const bytes = size === undefined ? undefined : parseBytes(size);
      return what === undefined || bytes === undefined
        ? refuse(`spillway pool pin takes a step as pipeline/step and a size such as 6GB, got ${[what, size].filter(Boolean).join(' ') || 'nothing'}. Write \`spillway pool pin daily/totals 6GB\`.`) // prettier-ignore
        : { act: 'pin', history: what, bytes };
    }
    case 'forget':
      return what === undefined
        ? refuse('spillway pool forget takes a step as pipeline/step, but none was given. `spillway pool --estimates` has them.') // prettier-ignore
        : { act: 'forget', history: what };
    default: {
      const near = nearestName(act, ACTS);
      return refuse(`spillway pool knows no ${act}. ${near === undefined ? `Known: ${ACTS.join(', ')}.` : `Did you mean ${near}?`}`); // prettier-ignore
    }
  }
}

async function statusOf(pool: PoolClient, name: string): Promise<PoolStatus> {
  const status = await pool.status(name);
  if (status) return status;
  throw new SpillwayError(
    'EngineUnreachable',
    `pool ${name} does not answer. Start a worker with \`spillway worker\`.`,
  );
}

/** What is remembered of steps, the newest first. */
async function showEstimates(pool: PoolClient, name: string, { json }: PoolOptions, output: Output): Promise<Exit> {
  const histories = await pool.histories(name);
  if (!histories) {
    await statusOf(pool, name); // says what to do where no pool runs
    throw new SpillwayError('EngineUnreachable', `pool ${name} remembers no steps yet: its release is older. Let its workers take this one.`); // prettier-ignore
  }
  if (json) {
    output.out(JSON.stringify(histories, null, 2));
    return Exit.OK;
  }
  const newest = Object.entries(histories).sort(([, a], [, b]) => b.lastMs - a.lastMs);
  const most = (of: readonly number[]): string => (of.length === 0 ? '–' : formatBytes(Math.max(...of)));
  output.out(
    table(
      [
        'step',
        'runs',
        'largest peak',
        'largest input',
        'last lease',
        'spilled',
        'beside its pool',
        'mostly takes',
        'ran out with',
        'pinned to',
      ],
      newest.map(([key, { runs, ranOut, pinnedBytes, ...history }]) => [
        key,
        String(runs.length),
        most(runs.map(({ peakBytes }) => peakBytes)),
        most(runs.map(({ inputBytes }) => inputBytes)),
        runs.length === 0 ? '–' : formatBytes(runs.at(-1)!.leaseBytes),
        runs.length === 0 ? '–' : `${runs.filter(({ spilled }) => spilled).length} of ${runs.length}`,
        most(runs.flatMap(({ besidePoolBytes: beside }) => (beside === undefined ? [] : [beside]))),
        runs.length === 0 ? '–' : `${expectedSeconds({ runs, ...history })!.toFixed(1)} s`,
        ranOut ? formatBytes(ranOut.bytes) : '–',
        pinnedBytes === undefined ? '–' : formatBytes(pinnedBytes),
      ]),
    ),
  );
  return Exit.OK;
}

/** Waits until no step holds anything; the pool stays paused. */
async function drained(
  pool: PoolClient,
  name: string,
  { json }: PoolOptions,
  output: Output,
  signal: AbortSignal,
): Promise<Exit> {
  for (let before = ''; ;) {
    const status = await statusOf(pool, name);
    const working = status.leases.filter(({ kind }) => kind === 'work');
    if (working.length === 0) {
      if (json) output.out(JSON.stringify(status, null, 2));
      else
        output.out(`pool ${name} is drained; ${status.queue.length} wait. Let it go on with \`spillway pool resume\`.`);
      return Exit.OK;
    }
    const now = `${working.length} steps hold ${formatBytes(status.lentBytes)}: ${working.map(({ step }) => step).join(', ')}`; // prettier-ignore
    if (now !== before) output.err(now);
    before = now;
    if (!(await pause(signal))) return Exit.INTERRUPTED;
  }
}

/** False when interrupted. */
const pause = (signal: AbortSignal): Promise<boolean> => sleep(WATCH_MS, true, { signal }).catch(() => false);

function show(status: PoolStatus, output: Output): void {
  const falls = status.targetBytes === undefined ? '' : `, falls to ${formatBytes(status.targetBytes)} as leases end`;
  output.out(
    `pool ${status.pool}: ${formatBytes(status.lentBytes)} lent, ${formatBytes(status.freeBytes)} free of ${formatBytes(status.lendableBytes)} (limit ${formatBytes(status.limitBytes)}${falls}, standing ${formatBytes(status.standingBytes)})`,
  );
  if (status.paused !== undefined) output.out(`paused: ${status.paused}`);
  output.out(
    table(
      ['step', 'kind', 'weight', 'bytes', 'state', 'ends about', 'workflow', 'because'],
      [...status.leases, ...status.queue].map((lease) => [
        lease.step,
        lease.kind,
        lease.weight,
        formatBytes(lease.bytes),
        lease.state,
        lease.expectedEndMs === undefined ? '–' : new Date(lease.expectedEndMs).toISOString().slice(0, 19) + 'Z',
        lease.workflowId ?? '–',
        lease.because,
      ]),
    ),
  );
}
