import { formatBytes, parseDurationMs } from '../policy/sizes.ts';
import { show, type Layer } from './layers.ts';
import { workerStandingBytes } from './plan-facts.ts';
import type { ResolvedHardware, ServersHere } from './resolved.ts';
import { chargedServers, systemShare } from './system-share.ts';

/** What rules across keys look at. */
export interface RuleFacts {
  readonly hardware: ResolvedHardware;
  readonly set: Layer;
  /** Free disk under the scratch root. */
  readonly freeDiskBytes: number;
  /** Whether a Trino of ours stands in the pool. */
  readonly residentTrinos: number;
  /** Servers of this host that nobody configured elsewhere. */
  readonly here: ServersHere;
}

interface Rule {
  /** Key that the line starts with: the one to change. */
  readonly key: string;
  readonly value: (hardware: ResolvedHardware) => number;
  /** Answers the rest of the line after the key when the rule is broken. */
  readonly broken: (facts: RuleFacts) => { must: string; mend: string } | undefined;
}

const sum = (parts: readonly { bytes: number }[]): number => parts.reduce((total, { bytes }) => total + bytes, 0);

const profileMend = 'Lower it or choose another hardware profile.';

/** Rules across keys, each a row: what must hold between two numbers, and what to do when it does not. */
const RULES: readonly Rule[] = [
  {
    key: 'pool.limit',
    value: (hardware) => hardware.poolBytes,
    broken: ({ hardware }) =>
      hardware.poolBytes > hardware.ramBytes
        ? { must: `be at most ${formatBytes(hardware.ramBytes)} (the RAM of this host)`, mend: profileMend }
        : undefined,
  },
  {
    key: 'pool.limit',
    value: (hardware) => hardware.poolBytes,
    broken: ({ hardware, here }) => {
      const share = systemShare(hardware, here);
      const room = hardware.ramBytes - sum(share);
      return hardware.poolBytes <= hardware.ramBytes && hardware.poolBytes > room
        ? {
            must: `be at most ${formatBytes(Math.max(0, room))} (the RAM without ${share.map(({ what, bytes }) => `${what} ${formatBytes(bytes)}`).join(', ')})`,
            mend: 'Lower it, or charge a server to the pool with chargeTo.',
          }
        : undefined;
    },
  },
  {
    key: 'pool.limit',
    value: (hardware) => hardware.poolBytes,
    broken: ({ hardware, residentTrinos, here }) => {
      const worker = workerStandingBytes(hardware);
      const charged = chargedServers(hardware, here);
      const standing = worker + residentTrinos * hardware.trino.floorBytes + sum(charged);
      const parts = [
        `worker ${formatBytes(hardware.workerBaselineBytes)}`,
        `${hardware.lightSlots} light slots of ${formatBytes(hardware.lightStepBytes)}`,
        ...(residentTrinos > 0 ? [`Trino ${formatBytes(hardware.trino.floorBytes)}`] : []),
        ...charged.map(({ what, bytes }) => `${what} ${formatBytes(bytes)}`),
      ];
      return hardware.poolBytes <= standing
        ? {
            must: `be more than the standing charges of ${formatBytes(standing)} (${parts.join(', ')})`,
            mend: 'Raise it, or lower light.slots.',
          }
        : undefined;
    },
  },
  {
    key: 'engines.trino.container',
    value: (hardware) => hardware.trino.containerBytes,
    broken: ({ hardware, residentTrinos, here }) => {
      const worker = workerStandingBytes(hardware);
      const room = hardware.poolBytes - worker - sum(chargedServers(hardware, here));
      return residentTrinos > 0 &&
        hardware.poolBytes <= hardware.ramBytes &&
        room > 0 &&
        hardware.trino.containerBytes > room
        ? {
            must: `be at most ${formatBytes(room)} (pool.limit without the worker's share and what else is charged to it)`,
            mend: 'Lower it with engines.trino.heap, or raise pool.limit.',
          }
        : undefined;
    },
  },
  {
    key: 'engines.trino.heap',
    value: (hardware) => hardware.trino.heapBytes,
    broken: ({ hardware: { trino } }) =>
      trino.heapBytes >= trino.containerBytes
        ? {
            must: `be less than engines.trino.container (${formatBytes(trino.containerBytes)})`,
            mend: 'Leave 500 MiB for what is not heap.',
          }
        : undefined,
  },
  {
    key: 'engines.trino.maxMemoryPerNode',
    value: (hardware) => hardware.trino.maxMemoryPerNodeBytes,
    broken: ({ hardware: { trino } }) => {
      const room = trino.heapBytes - trino.heapHeadroomBytes;
      return trino.maxMemoryPerNodeBytes >= room
        ? {
            must: `be less than ${formatBytes(Math.max(0, room))} (engines.trino.heap without heapHeadroom)`,
            mend: 'Trino does not start otherwise.',
          }
        : undefined;
    },
  },
  {
    key: 'engines.trino.maxTotalMemory',
    value: (hardware) => hardware.trino.maxTotalMemoryBytes,
    broken: ({ hardware: { trino } }) =>
      trino.maxTotalMemoryBytes < trino.maxMemoryPerNodeBytes
        ? {
            must: `be at least engines.trino.maxMemoryPerNode (${formatBytes(trino.maxMemoryPerNodeBytes)})`,
            mend: 'Raise it.',
          }
        : undefined,
  },
  {
    key: 'engines.trino.floor',
    value: (hardware) => hardware.trino.floorBytes,
    broken: ({ hardware: { trino } }) =>
      trino.floorBytes >= trino.containerBytes
        ? {
            must: `be less than engines.trino.container (${formatBytes(trino.containerBytes)})`,
            mend: 'A query is lent the difference.',
          }
        : undefined,
  },
  {
    key: 'engines.postgres.sharedBuffers',
    value: (hardware) => hardware.postgres.sharedBuffersBytes,
    broken: ({ hardware }) => {
      const beside = hardware.ramBytes - hardware.poolBytes;
      return beside > 0 && hardware.postgres.sharedBuffersBytes > beside
        ? { must: `be at most ${formatBytes(beside)} (the RAM beside the pool)`, mend: 'Lower it, or pool.limit.' }
        : undefined;
    },
  },
  {
    key: 'engines.datafusion.partitions',
    value: (hardware) => hardware.datafusion.partitions,
    broken: ({ hardware }) =>
      hardware.datafusion.partitions > hardware.physicalCores
        ? {
            must: `be at most ${hardware.physicalCores} (the physical cores of this host, to which containers are bound)`,
            mend: 'Lower it or choose another hardware profile.',
          }
        : undefined,
  },
  {
    key: 'pool.scratchLimit',
    value: (hardware) => hardware.scratchBytes,
    broken: ({ hardware, freeDiskBytes }) =>
      hardware.scratchBytes > freeDiskBytes
        ? {
            must: `be at most ${formatBytes(freeDiskBytes)} (free on the disk of the scratch root)`,
            mend: 'Lower it, or set scratch to another disk.',
          }
        : undefined,
  },
  ...(
    [
      ['pool.stepScratch', (hardware) => hardware.stepScratchBytes],
      ['checkpoints.limit', (hardware) => hardware.checkpointBytes],
      ['engines.trino.spill', (hardware) => hardware.trino.spillBytes],
      ['engines.datafusion.spill', (hardware) => hardware.datafusion.spillBytes],
    ] as readonly [string, (hardware: ResolvedHardware) => number][]
  ).map(([key, value]): Rule => ({
    key,
    value,
    broken: ({ hardware }) =>
      value(hardware) > hardware.scratchBytes
        ? { must: `be at most pool.scratchLimit (${formatBytes(hardware.scratchBytes)})`, mend: 'Lower it.' }
        : undefined,
  })),
];

/** Who may be charged to the pool, by the key that says it runs elsewhere. */
const CONFIGURED_ELSEWHERE = [
  ['engines.postgres.chargeTo', 'postgres.default.url', 'PostgreSQL'],
  ['temporal.chargeTo', 'temporal.address', 'Temporal'],
] as const;

/** Shortest and longest of each time that may be set. */
const DURATIONS = [
  { key: 'worker.drain', least: '1 second', most: '1 hour' },
  { key: 'checkpoints.ttl', least: '1 minute', most: '365 days' },
] as const;

/** A line for every rule across keys that does not hold. */
export function ruleProblems(facts: RuleFacts): string[] {
  const lines = RULES.flatMap(({ key, value, broken }) => {
    const found = broken(facts);
    if (!found) return [];
    const set = facts.set.get(key);
    const got = set
      ? `${show(set.value)} (${set.source})`
      : `${key.endsWith('partitions') ? value(facts.hardware) : formatBytes(value(facts.hardware))} (hardware profile ${facts.hardware.profile})`;
    return [`${key} must ${found.must}, got ${got}. ${found.mend}`];
  });
  for (const [key, address, what] of CONFIGURED_ELSEWHERE) {
    const set = facts.set.get(key);
    if (set?.value === 'pool' && facts.set.has(address)) {
      lines.push(
        `${key} must be 'system' with ${address} set, got 'pool' (${set.source}). The pool pays for a ${what} that \`spillway up\` started, as it can see it end.`,
      );
    }
  }
  for (const { key, least, most } of DURATIONS) {
    const set = facts.set.get(key);
    const ms = set && (parseDurationMs(set.value as string | number) ?? 0);
    if (ms !== undefined && (ms < parseDurationMs(least)! || ms > parseDurationMs(most)!))
      lines.push(`${key} must be from ${least} to ${most}, got ${show(set!.value)} (${set!.source}).`);
  }
  return lines;
}
