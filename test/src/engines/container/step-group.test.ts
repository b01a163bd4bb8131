import { expect, test } from '@jest/globals';
import { proveEmpty } from '../../../../src/engines/container/step-group.ts';
import type { GroupReading } from '../../../../src/host/cgroup-tree.ts';

/** A group without processes, whose statistics say one after the other, and then the last for ever. */
function group(...heldBytes: number[]) {
  let reads = 0;
  const read = async (): Promise<GroupReading> => ({
    ...{ usageBytes: 0, peakBytes: 0, oomKills: {}, processes: 0 },
    heldBytes: heldBytes[Math.min(reads++, heldBytes.length - 1)]!,
  });
  return { tree: { read, kill: async () => undefined }, reads: () => reads };
}
const PAGES = 24 * 4096;

test.each<[string, number[], boolean, number, number]>([
  ['nothing left is proof at once', [0], false, 0, 1],
  ['pages that the statistics have not heard of are looked at again', [PAGES, PAGES, 0], false, 0, 3],
  ['rows that a job keeps are what is left', [PAGES, 0], true, PAGES, 1],
  ['more than statistics may lag is what is left', [50_000_000, 0], false, 50_000_000, 1],
])('%s', async (_title, held, keepsRows, bytesLeft, reads) => {
  const { tree, ...seen } = group(...held);
  expect(await proveEmpty(tree, '/pool/step', { keepsRows })).toMatchObject({ kind: 'cgroup-empty', bytesLeft });
  expect(seen.reads()).toBe(reads);
});

test('pages that stay are told', async () => {
  const { tree } = group(PAGES);
  expect(await proveEmpty(tree, '/pool/step', { keepsRows: false, lagMs: 100 })).toMatchObject({ bytesLeft: PAGES });
});
