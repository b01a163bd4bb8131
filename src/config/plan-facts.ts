import { isEngineData, type PoolStatus } from '../contracts/pool.ts';
import type { PlanFacts } from '../policy/plan.ts';
import type { ResolvedConfig, ResolvedHardware } from './resolved.ts';
import { chargedServers } from './system-share.ts';

/** Standing charge of a worker process: itself, and its light slots. */
export const workerStandingBytes = (hardware: ResolvedHardware): number =>
  hardware.workerBaselineBytes + hardware.lightSlots * hardware.lightStepBytes;

/** What a query on the resident Trino may take over the server's floor. */
export const trinoQueryBytes = (hardware: ResolvedHardware): number =>
  hardware.trino.containerBytes - hardware.trino.floorBytes;

/** Rows that runs keep in memory; what idle engines keep is not among them. */
const rowsInMemory = ({ leases }: PoolStatus): number =>
  leases
    .filter(({ kind, leaseId }) => kind === 'data' && !isEngineData(leaseId))
    .reduce((sum, { bytes }) => sum + bytes, 0);

/** Facts of a plan, from the configuration and from the pool as it is now; without a pool, as it will be once a worker is up. */
export function planFacts(config: ResolvedConfig, status: PoolStatus | undefined): Omit<PlanFacts, 'searchAttributes'> {
  const { hardware } = config;
  const resident = Object.values(config.trino).filter((trino) => trino.residence === 'resident').length;
  const open = status !== undefined && status.limitBytes > 0;
  return {
    pool: config.pool.name,
    lendableBytes: open
      ? status.lendableBytes
      : hardware.poolBytes -
        workerStandingBytes(hardware) -
        resident * hardware.trino.floorBytes -
        chargedServers(hardware, config.serversHere).reduce((sum, { bytes }) => sum + bytes, 0),
    lentBytes: open ? status.lentBytes : 0,
    inMemoryBytes: open ? rowsInMemory(status) : 0,
    otherHeavy: open && (status.heavyTaken || status.queue.some((waiting) => waiting.weight === 'heavy')),
    thresholds: config.handoff,
    rungSizes: hardware.rungs,
    lightStepBytes: hardware.lightStepBytes,
    stepScratchBytes: hardware.stepScratchBytes,
    trino: Object.fromEntries(
      Object.entries(config.trino).map(([name, trino]) => [
        name,
        { queryBytes: trinoQueryBytes(hardware), resident: trino.residence === 'resident' },
      ]),
    ),
    postgres: Object.keys(config.postgres),
    directories: config.directories,
  };
}
