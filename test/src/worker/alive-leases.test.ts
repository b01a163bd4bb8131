import { expect, test } from '@jest/globals';
import { sumByLease } from '../../../src/worker/alive-leases.ts';

test('what carries one lease counts together, with the newest token; what carries none does not count', () => {
  expect(
    sumByLease([
      { leaseId: 'a/x#0', token: 3, bytes: 600 },
      { leaseId: 'b/y#0', token: 4, bytes: 7 },
      { leaseId: undefined, token: 9, bytes: 1000 },
      { leaseId: 'a/x#0', token: 5, bytes: 200 },
    ]),
  ).toEqual([
    { leaseId: 'a/x#0', token: 5, bytes: 800 },
    { leaseId: 'b/y#0', token: 4, bytes: 7 },
  ]);
});
