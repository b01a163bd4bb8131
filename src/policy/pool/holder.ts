import type { Holder } from '../../contracts/pool.ts';

/** Whether two holders are the same run, or the same process. */
export function sameHolder(a: Holder, b: Holder): boolean {
  if ('workflowId' in a) return 'workflowId' in b && a.workflowId === b.workflowId && a.runId === b.runId;
  return (
    'process' in b &&
    a.host === b.host &&
    a.process.pid === b.process.pid &&
    a.process.startedAt === b.process.startedAt
  );
}
