import type { ActivityDeps } from '../../activities/index.ts';
import { RunLiveness } from '../../activities/holders.ts';
import { removeWholeRun } from '../../activities/outside.ts';
import { type Proof, runOfData } from '../contracts/pool.ts';
import { listLeftovers } from '../engines/postgres/janitor.ts';
import { sweepScratch } from '../handoff/janitor.ts';
import type { CgroupTree, NoCgroups } from '../host/cgroup-tree.ts';
import type { DataLease } from '../policy/pool/state.ts';
import { removeDeadWorkerGroups } from './worker-group.ts';
import type { WorkerLog } from './worker-log.ts';

/** Between two sweeps; the first comes at once. */
const SWEEP_EVERY_MS = 15_000;
/** Groups of containers that are gone are left this long, so that none is taken from a container that just starts. */
const EMPTY_GROUP_AGE_MS = 30_000;

/** Removes from this host what belongs to runs that are over: containers, queries, loads, files. */
export class HostJanitor {
  readonly #deps: ActivityDeps;
  readonly #cgroups: CgroupTree | NoCgroups;
  readonly #log: WorkerLog;
  readonly #liveness: RunLiveness;
  #nextMs = 0;

  constructor(deps: ActivityDeps, cgroups: CgroupTree | NoCgroups, log: WorkerLog) {
    this.#deps = deps;
    this.#cgroups = cgroups;
    this.#log = log;
    this.#liveness = new RunLiveness(deps.client);
  }

  /** Removes the groups of workers that are gone; sweeps when it is time. */
  async round(): Promise<void> {
    const { config, engines } = this.#deps;
    await removeDeadWorkerGroups(this.#cgroups, config.pool.name);
    if (Date.now() < this.#nextMs) return;
    this.#nextMs = Date.now() + SWEEP_EVERY_MS;
    const listedAtMs = Date.now();
    const live: string[] = [];
    for (const run of await this.#runsSeen()) {
      if (await this.#liveness.isLive(run)) live.push(run);
      else {
        const removed = await removeWholeRun(this.#deps, run);
        this.#log.info(`janitor: run ${run} is over; removed ${JSON.stringify(removed)}`);
      }
    }
    await sweepScratch(engines.scratch, { liveRuns: live, listedAtMs });
    await engines.checkpoints.sweep();
    await engines.containers.removeEmptyGroups(config.pool.name, EMPTY_GROUP_AGE_MS);
  }

  /** Runs that something outside is named after. An engine that is down shows nothing now, and is looked at again. */
  async #runsSeen(): Promise<Set<string>> {
    const { config, engines } = this.#deps;
    const runs = new Set<string>();
    for (const { run } of await engines.scratch.listEntries()) runs.add(run);
    for (const { labels } of await engines.containers.listByLabels({ 'spillway.pool': config.pool.name }))
      runs.add(labels['spillway.run']!);
    for (const name of Object.keys(config.trino)) {
      const queries = await engines
        .trino(name)
        .queriesBySource('spillway/')
        .catch(() => []);
      for (const { source } of queries) {
        const run = source.split('/')[1];
        if (run !== undefined && run !== 'control') runs.add(run);
      }
    }
    for (const name of Object.keys(config.postgres)) {
      const { loads } = await listLeftovers(engines.postgres(name)).catch(() => ({ loads: [] }));
      for (const { run } of loads) runs.add(run);
    }
    return runs;
  }

  /** Removes the files of datasets whose runs are over, then tells the pool. */
  async dropData(data: DataLease[]): Promise<void> {
    const { config, engines, pool } = this.#deps;
    for (const run of new Set(data.map(({ dataId }) => runOfData(dataId)))) await engines.scratch.dropRun(run);
    const proof: Proof = { kind: 'unlinked', atMs: Date.now(), bytesLeft: 0 };
    await pool.drop(
      config.pool.name,
      data.map(({ dataId }) => ({ dataId, proof })),
    );
  }
}
