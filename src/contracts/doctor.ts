/** How one check of `spillway doctor` ended; `unverified`: this kind of host does not show it. */
export type Verdict = 'ok' | 'warn' | 'fail' | 'unverified';

/** One line of `spillway doctor`, also of its `--json`. */
export interface Finding {
  /** What was looked at: `Trino heap`, `scratch disk`. */
  check: string;
  verdict: Verdict;
  /** What was found, with numbers and units. */
  because: string;
  /** The command or edit that mends it; absent when there is nothing to mend. */
  mend?: string;
}

/** Answer of `spillway doctor --json`. */
export interface DoctorReport {
  host: string;
  /** The worst of the findings; `unverified` counts as `warn`. */
  verdict: 'ok' | 'warn' | 'fail';
  findings: Finding[];
}

/** Files of a PostgreSQL database that belong to no table. */
export interface OrphanFiles {
  files: number;
  bytes: number;
  /** The largest ones, at most five, below the data directory. */
  largest: readonly string[];
}
