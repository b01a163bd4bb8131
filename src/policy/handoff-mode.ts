import { HandoffMode } from '../contracts/handoff.ts';
import type { HandoffChoice } from '../contracts/handoff.ts';
import { formatBytes } from './sizes.ts';

/** Modes that each engine can write today, as data. */
export const WRITER_MODES = {
  trino: [HandoffMode.PARQUET],
  datafusion: [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
  // Memory is lent for the rows of one step.
  'datafusion, several': [HandoffMode.ARROW, HandoffMode.PARQUET],
  transform: [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
} as const satisfies Record<string, readonly HandoffMode[]>;
export type HandoffWriter = keyof typeof WRITER_MODES;

/** Modes that each engine can read today. */
export const READER_MODES = {
  trino: [HandoffMode.PARQUET],
  datafusion: [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
  transform: [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
  postgres: [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
  'write.parquet': [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
  'write.arrow': [HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET],
} as const satisfies Record<string, readonly HandoffMode[]>;
export type HandoffReader = keyof typeof READER_MODES;

/** Modes that have a carrier; the others are decided and stood in for. */
const BUILT: readonly HandoffMode[] = [HandoffMode.FUSED, HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET];
const WRITER_NAMES: Record<HandoffWriter, string> = {
  trino: 'Trino',
  datafusion: 'the DataFusion runner',
  'datafusion, several': 'a container that computes rows of several steps',
  transform: 'a transform',
};
const READER_NAMES: Record<HandoffReader, string> = {
  trino: 'Trino',
  datafusion: 'the DataFusion runner',
  transform: 'a transform',
  postgres: 'the PostgreSQL loader',
  'write.parquet': 'write.parquet',
  'write.arrow': 'write.arrow',
};
// From fastest to safest: what cannot be had is stood in for by the next one, then by the one before.
const LADDER: readonly HandoffMode[] = [HandoffMode.MEMORY, HandoffMode.SHM, HandoffMode.ARROW, HandoffMode.PARQUET];

/** Shares of what can be lent, at which the mode changes. */
export interface HandoffThresholds {
  /** Past it an intermediate goes to Arrow files. @defaultValue 0.5, from 0.4 to 0.5 */
  arrowAbove: number;
  /** Past it, to Parquet. @defaultValue 0.8, from 0.6 to 0.95 */
  parquetAbove: number;
  /** Past it, to Parquet, while another run's heavy step runs or waits. @defaultValue 0.4, from 0.2 to 0.5 */
  parquetAboveWhenContended: number;
}

export const DEFAULT_THRESHOLDS: Readonly<HandoffThresholds> = {
  arrowAbove: 0.5,
  parquetAbove: 0.8,
  parquetAboveWhenContended: 0.4,
};

/** Least and greatest value of each threshold. */
export const THRESHOLD_RANGES: Readonly<Record<keyof HandoffThresholds, readonly [number, number]>> = {
  arrowAbove: [0.4, 0.5],
  parquetAbove: [0.6, 0.95],
  parquetAboveWhenContended: [0.2, 0.5],
};

/** What is known when a mode is decided, or decided again by escalation. Bytes are whole bytes. */
export interface HandoffFacts {
  /** Size of the intermediate; absent when unknown. */
  estimatedBytes?: number;
  /** What the pool lends in all: its limit without standing charges. */
  lendableBytes: number;
  /** In-memory intermediates that are there already. */
  inMemoryBytes: number;
  /** What the pool could lend at once. */
  freeBytes: number;
  /** Room on the host's tmpfs. */
  shmFreeBytes: number;
  /** Another run's heavy step runs or waits. */
  otherHeavy: boolean;
  /** The dataset is to be found again by later runs. */
  checkpoint: boolean;
  /** Being able to start again from here was asked for. */
  restart: boolean;
  /** Every reader is in the process that writes. */
  sameProcessReader: boolean;
  /** The readers are of the same engine and nobody else reads it. */
  fusable: boolean;
  writer: HandoffWriter;
  /** Engines that will read it. @defaultValue [] */
  readers?: readonly HandoffReader[];
}

interface Sized {
  facts: HandoffFacts;
  thresholds: HandoffThresholds;
  /** This intermediate and the in-memory ones, as a share of what can be lent; undefined when the size is unknown. */
  share: number | undefined;
}

interface Row {
  mode: HandoffMode;
  when(sized: Sized): boolean;
  because(sized: Sized): string;
}

const percent = (share: number): string => `${Number((share * 100).toFixed(1))} %`;
const ofLendable = ({ share, facts }: Sized): string => {
  const beside = facts.inMemoryBytes > 0 ? ` with ${formatBytes(facts.inMemoryBytes)} already in memory` : '';
  return `${formatBytes(facts.estimatedBytes ?? 0)}${beside} is ${percent(share ?? 0)} of ${formatBytes(facts.lendableBytes)}`;
};
const exceeds = (sized: Sized, limit: keyof HandoffThresholds): boolean =>
  sized.share !== undefined && sized.share > sized.thresholds[limit];
const past = (sized: Sized, limit: keyof HandoffThresholds): string =>
  `${ofLendable(sized)}, more than ${percent(sized.thresholds[limit])}`;

// First match wins. The order is the meaning: what must survive, then what is large, then what is near.
const TABLE: readonly Row[] = [
  {
    mode: HandoffMode.FUSED,
    when: ({ facts }) => facts.fusable,
    because: () => 'same engine before and after, and nobody else reads it',
  },
  {
    mode: HandoffMode.PARQUET,
    // Else the rows are written twice.
    when: ({ facts: { readers = [] } }) => readers.includes('write.parquet'),
    because: () => 'write.parquet copies it as it is',
  },
  { mode: HandoffMode.PARQUET, when: ({ facts }) => facts.checkpoint, because: () => 'a checkpoint was asked for' },
  {
    mode: HandoffMode.PARQUET,
    when: ({ facts, share }) => share === undefined && facts.restart,
    because: () => 'its size is unknown and restart was asked for',
  },
  {
    mode: HandoffMode.PARQUET,
    when: (sized) => exceeds(sized, 'parquetAbove'),
    because: (sized) => past(sized, 'parquetAbove'),
  },
  {
    mode: HandoffMode.PARQUET,
    when: (sized) => sized.facts.otherHeavy && exceeds(sized, 'parquetAboveWhenContended'),
    because: (sized) => `${past(sized, 'parquetAboveWhenContended')} while another run's heavy step runs or waits`,
  },
  {
    mode: HandoffMode.ARROW,
    when: (sized) => exceeds(sized, 'arrowAbove'),
    because: (sized) => past(sized, 'arrowAbove'),
  },
  // Files on disk need no lease and can be outgrown in either direction.
  { mode: HandoffMode.ARROW, when: ({ share }) => share === undefined, because: () => 'its size is unknown' },
  {
    mode: HandoffMode.ARROW,
    when: ({ facts }) => (facts.estimatedBytes ?? 0) > facts.freeBytes,
    because: ({ facts }) =>
      `${formatBytes(facts.estimatedBytes ?? 0)} is more than the ${formatBytes(Math.max(0, facts.freeBytes))} that are free`,
  },
  {
    mode: HandoffMode.MEMORY,
    when: ({ facts }) => facts.sameProcessReader,
    because: (sized) => `${ofLendable(sized)}, and its reader is in the same process`,
  },
  {
    mode: HandoffMode.SHM,
    when: () => true,
    because: (sized) => `${ofLendable(sized)}, and its reader is in another process`,
  },
];

/**
 * Decides how a computed dataset reaches its readers, with the reason. Total: answers for every input.
 * Where writer, readers or this release cannot do the mode, its nearest stands in, and `because` says so.
 */
export function chooseHandoff(facts: HandoffFacts, thresholds: HandoffThresholds = DEFAULT_THRESHOLDS): HandoffChoice {
  const sized: Sized = { facts, thresholds, share: shareOf(facts) };
  const row = TABLE.find((candidate) => candidate.when(sized))!;
  const choice = standIn({ mode: row.mode, because: row.because(sized) }, facts);
  const parquetPastBytes = escalation(choice, facts, thresholds);
  return parquetPastBytes === undefined ? choice : { ...choice, parquetPastBytes };
}

/** The size at which the table would have said Parquet, for a writer that finds out while it writes. Who copies Arrow files as they are wants no others. */
function escalation(
  { mode }: HandoffChoice,
  { readers = [], otherHeavy, lendableBytes, inMemoryBytes }: HandoffFacts,
  { parquetAbove, parquetAboveWhenContended }: HandoffThresholds,
): number | undefined {
  if (mode !== HandoffMode.SHM && mode !== HandoffMode.ARROW) return undefined;
  if (readers.includes('write.arrow')) return undefined;
  return Math.max(
    0,
    Math.floor((otherHeavy ? parquetAboveWhenContended : parquetAbove) * lendableBytes) - inMemoryBytes,
  );
}

function shareOf({ estimatedBytes, inMemoryBytes, lendableBytes }: HandoffFacts): number | undefined {
  if (estimatedBytes === undefined || !Number.isFinite(estimatedBytes)) return undefined;
  const bytes = estimatedBytes + inMemoryBytes;
  if (bytes === 0) return 0;
  return lendableBytes > 0 ? bytes / lendableBytes : Infinity;
}

function standIn(wanted: HandoffChoice, facts: HandoffFacts): HandoffChoice {
  if (wanted.mode === HandoffMode.FUSED) return wanted;
  const { writer, readers = [], shmFreeBytes, estimatedBytes = 0 } = facts;
  const hasRoom = (mode: HandoffMode): boolean => mode !== HandoffMode.SHM || estimatedBytes <= shmFreeBytes;
  const at = LADDER.indexOf(wanted.mode);
  const order = [...LADDER.slice(at), ...LADDER.slice(0, at).reverse()];
  const writes = (mode: HandoffMode): boolean => (WRITER_MODES[writer] as readonly HandoffMode[]).includes(mode);
  const cannotRead = (mode: HandoffMode): HandoffReader | undefined =>
    readers.find((reader) => !(READER_MODES[reader] as readonly HandoffMode[]).includes(mode));
  const mode =
    order.find(
      (candidate) => BUILT.includes(candidate) && hasRoom(candidate) && writes(candidate) && !cannotRead(candidate),
    ) ?? HandoffMode.PARQUET;
  if (mode === wanted.mode) return wanted;
  const reasons: string[] = [];
  if (!BUILT.includes(wanted.mode)) reasons.push(`there is no carrier for ${wanted.mode} yet`);
  // Why it moved on from what would have stood in otherwise.
  const nearest = mode === HandoffMode.PARQUET ? HandoffMode.ARROW : HandoffMode.SHM;
  const passed = BUILT.includes(wanted.mode) ? wanted.mode : nearest;
  if (passed !== mode && !writes(passed)) {
    reasons.push(`${WRITER_NAMES[writer]} writes ${WRITER_MODES[writer].join(' and ')} only`);
  }
  if (passed !== mode && writes(passed) && !hasRoom(passed)) {
    reasons.push(`${formatBytes(Math.max(0, shmFreeBytes))} are free on the host's tmpfs`);
  }
  const reader = passed === mode ? undefined : cannotRead(passed);
  if (reader) reasons.push(`${READER_NAMES[reader]} reads ${READER_MODES[reader].join(' and ')} only`);
  return { mode, because: `${wanted.because}; ${mode} stands in for ${wanted.mode}: ${reasons.join(', and ')}` };
}
