import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { postgresServerBytes, TEMPORAL_SERVER_BYTES } from '../../src/config/system-share.ts';
import { hostHardware } from './provision-home.ts';
import { Stack } from './stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('charge-to-pool');
}, 600_000);
afterAll(() => stack?.close(), 90_000);

test('servers that the pool pays for stand in it, each for its process, and lend no more twice', async () => {
  await stack.worker({ flags: ['--engines-postgres-charge-to', 'pool', '--temporal-charge-to', 'pool'] });
  const { leases, limitBytes, standingBytes, lendableBytes } = await stack.status();
  const { postgres, temporal } = stack.parts;
  const charged = leases
    .filter(({ leaseId }) => /\/(postgres|temporal)-/.test(leaseId))
    .map(({ leaseId, kind, bytes }) => [leaseId.split('/').at(-1), kind, bytes]);
  expect(charged.sort()).toEqual([
    [`postgres-${postgres.pid}-${postgres.startedAt}`, 'standing', postgresServerBytes(hostHardware())],
    [`temporal-${temporal.pid}-${temporal.startedAt}`, 'standing', TEMPORAL_SERVER_BYTES],
  ]);
  expect(standingBytes).toBe(leases.reduce((sum, { kind, bytes }) => sum + (kind === 'standing' ? bytes : 0), 0));
  expect(lendableBytes).toBe(limitBytes - standingBytes);
}, 90_000);
