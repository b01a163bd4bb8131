import { createHash } from 'node:crypto';

/** One attempt of a step of a run: what everything made outside is named after. */
export interface Attempt {
  /** `originalExecutionRunId`. */
  run: string;
  step: string;
  /** Fencing number; a higher one wins. */
  token: number;
}

const LONGEST = 80;

/**
 * Makes a name that is one path segment, one part of a source and one part of a table name out of any text: lower-case
 * letters, digits, `_` and `-`. Text that had to be changed gets a hash, so that different texts stay different.
 */
export function safeName(text: string): string {
  const plain = text.toLowerCase().replace(/[^a-z0-9_-]/g, '_');
  // A leading `-` would read as an option on some command line.
  if (plain === text && plain.length <= LONGEST && /^[a-z0-9_]/.test(plain)) return plain;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 10);
  return `${plain.replace(/^[^a-z0-9]+/, '').slice(0, LONGEST - hash.length - 1)}_${hash}`.replace(/^_/, 'x_');
}

/** `<step>-<token>`, the name of an attempt within its run. Raises RangeError for a token that is no whole number >= 0. */
export function attemptName({ step, token }: Pick<Attempt, 'step' | 'token'>): string {
  if (!Number.isSafeInteger(token) || token < 0)
    throw new RangeError(`token must be a whole number >= 0, got ${token}`);
  return `${safeName(step)}-${token}`;
}

/** Splits `<step>-<token>`; undefined for a name of another form. */
export function parseAttemptName(name: string): { step: string; token: number } | undefined {
  const match = /^([a-z0-9_][a-z0-9_-]*)-(\d{1,15})$/.exec(name);
  return match ? { step: match[1]!, token: Number(match[2]) } : undefined;
}
