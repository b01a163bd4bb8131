/** Sizes are binary, as in the engines: `512GB` = 512 GiB = 512 × 2^30 bytes. */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const UNITS: Record<string, number> = { '': 1, k: KiB, m: MiB, g: GiB, t: TiB };

/**
 * Reads a size such as `512GB`, `1.5 GiB`, `600m` or a whole number of bytes.
 * Answers undefined for anything else; the caller knows the key to name.
 */
export function parseBytes(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isSafeInteger(text) && text >= 0 ? text : undefined;
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|b)?\s*$/i.exec(text);
  if (!match) return undefined;
  const unit = match[2]?.toLowerCase() ?? '';
  if (unit === '' && match[1]!.includes('.')) return undefined; // no fractions of a byte
  const bytes = Math.round(Number(match[1]) * UNITS[unit]!);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const UNIT_NAMES = [
  ['TiB', TiB],
  ['GiB', GiB],
  ['MiB', MiB],
  ['KiB', KiB],
] as const;

/** `6.5 GiB`; at most one decimal, exact numbers without one. */
export function formatBytes(bytes: number): string {
  const sign = bytes < 0 ? '-' : '';
  const size = Math.abs(bytes);
  for (const [unit, factor] of UNIT_NAMES) {
    // What would read `1024 MiB` is a GiB.
    if (size >= factor || Math.round((size / factor) * KiB * 10) / 10 >= KiB) {
      const value = size / factor;
      return `${sign}${Number.isInteger(value) ? value : value.toFixed(1).replace(/\.0$/, '')} ${unit}`;
    }
  }
  return `${sign}${size} B`;
}

/** Two sizes to be compared by a reader: in whole bytes where they differ and would read alike. */
export function formatBoth(a: number, b: number): [string, string] {
  const [first, second] = [formatBytes(a), formatBytes(b)];
  return a !== b && first === second ? [`${a} B`, `${b} B`] : [first, second];
}

const DURATION_UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  second: 1000,
  seconds: 1000,
  sec: 1000,
  m: 60_000,
  min: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  days: 86_400_000,
};

/** Reads a duration such as `2 hours`, `90s` or a number of milliseconds; undefined for anything else. */
export function parseDurationMs(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isSafeInteger(text) && text > 0 ? text : undefined;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text);
  const factor = match ? DURATION_UNITS[match[2]!.toLowerCase()] : undefined;
  if (!match || factor === undefined) return undefined;
  const ms = Math.round(Number(match[1]) * factor);
  return ms > 0 ? ms : undefined;
}
