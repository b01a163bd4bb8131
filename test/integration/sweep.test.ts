import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeEntry } from '../../src/handoff/ledger-entry.ts';
import { openScratch, type ScratchLedger } from '../../src/handoff/scratch-ledger.ts';
import { Stack } from './stack.ts';

let stack: Stack;
let scratch: ScratchLedger;
beforeAll(async () => {
  stack = await Stack.open('sweep');
  scratch = await openScratch({ root: stack.parts.scratch });
}, 600_000);
afterAll(() => stack?.close(), 60_000);

/** What a worker that is gone left of a run, an hour ago. */
async function left(run: string, bytes: number): Promise<void> {
  const entry = await scratch.reserveAttempt({ run, step: 'rows', token: 1 });
  writeFileSync(join(entry.directory, 'part-00000.arrow'), Buffer.alloc(bytes));
  const path = join(scratch.root, 'ledger', `${run}.rows-1.json`);
  await writeEntry(path, { ...entry, reservedAtMs: Date.now() - 3_600_000 });
}

test('shows what belongs to no open run, removes it when told to, and spares the others', async () => {
  const over = randomUUID();
  const open = await stack.client.workflow.start('nobodyRunsIt', { workflowId: stack.id('open'), taskQueue: 'nobody' });
  const sweep = (...more: string[]) => stack.spillway('sweep', more);
  const ours = [over, open.firstExecutionRunId];
  const kept = async () => (await scratch.listEntries()).map(({ run }) => run).filter((run) => ours.includes(run));
  await left(over, 1000);
  await left(open.firstExecutionRunId, 2000);
  expect(await sweep()).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(new RegExp(`^would be removed[^]*${over}/rows-1 .*run ${over} is not open$`, 'm')),
    stderr: expect.stringContaining('--remove'),
  });
  expect((await kept()).sort()).toEqual(ours.sort());
  const { removed } = JSON.parse((await sweep('--remove', '--json')).stdout) as { removed: { bytes: number }[] };
  expect(removed).toContainEqual(expect.objectContaining({ bytes: 1000, because: `run ${over} is not open` }));
  expect(await kept()).toEqual([open.firstExecutionRunId]);
  await open.terminate();
  expect((await sweep('--remove')).stdout).toContain(`run ${open.firstExecutionRunId} is not open`);
  expect(await kept()).toEqual([]);
}, 120_000);
