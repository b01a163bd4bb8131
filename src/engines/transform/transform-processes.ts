import type { ProcessId } from '../../contracts/pool.ts';
import { endProcess, markedProcesses } from '../../host/marked-processes.ts';

/** An attempt of a transform, as its process is named. */
export interface TransformName {
  run: string;
  step: string;
  token: number;
  /** What it was lent, and by which lease. */
  lease?: { pool: string; leaseId: string; bytes: number };
}

const MARK = '--spillway-transform';

/** Arguments by which a process is found, whoever started it. */
export const nameArguments = ({ run, step, token, lease }: TransformName): string[] => [
  ...[MARK, run, step, String(token)],
  ...(lease === undefined ? [] : [lease.pool, lease.leaseId, String(lease.bytes)]),
];

export interface FoundTransform extends TransformName {
  process: ProcessId;
}

/** Transform processes of this host. */
export function transformProcesses(): FoundTransform[] {
  return markedProcesses(MARK).map(({ process, values: [run = '', step = '', token, pool, leaseId, bytes] }) => ({
    ...{ process, run, step, token: Number(token) },
    ...(pool !== undefined && leaseId !== undefined && { lease: { pool, leaseId, bytes: Number(bytes) } }),
  }));
}

/**
 * Ends the transform processes of a run, or of one of its steps up to a token, and sees them gone. Answers how many there were.
 * @throws Error when one is still there after 5 s
 */
export async function endTransforms(of: { run: string; step?: string; upToToken?: number }): Promise<number> {
  const ours = transformsOf(of);
  await Promise.all(ours.map(({ process }) => endProcess(process)));
  return ours.length;
}

/** Transform processes of a run, or of one of its steps up to a token. */
export const transformsOf = (of: { run: string; step?: string; upToToken?: number }): FoundTransform[] =>
  transformProcesses().filter(
    ({ run, step, token }) =>
      run === of.run && (of.step === undefined || step === of.step) && token <= (of.upToToken ?? Infinity),
  );
