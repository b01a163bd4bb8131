import { expect, test } from '@jest/globals';
import { environmentName, flagName, keysBelow, KNOWN_KEYS } from '../../../src/config/keys.ts';
import { HARDWARE_KEYS } from '../../../src/config/override-hardware.ts';

test.each([
  ['pool.scratchLimit', 'SPILLWAY_POOL_SCRATCH_LIMIT', '--pool-scratch-limit'],
  ['trino.default.url', 'SPILLWAY_TRINO_URL', '--trino-url'],
  ['hardware', 'SPILLWAY_HARDWARE', '--hardware'],
])('%s is set by %s and %s', (key, variable, flag) => {
  expect(environmentName(key)).toBe(variable);
  expect(flagName(key)).toBe(flag);
});

test('no two keys share a variable', () => {
  const names = KNOWN_KEYS.map(({ key }) => environmentName(key));
  expect(new Set(names).size).toBe(names.length);
});

test('every number of a profile that can be overridden is a known key', () => {
  const known = KNOWN_KEYS.map(({ key }) => key);
  expect(Object.keys(HARDWARE_KEYS).filter((key) => !known.includes(key))).toEqual([]);
});

test('keys below a connection do not depend on its name', () => {
  expect(keysBelow(['trino', 'eu-west'])).toEqual(['url', 'user', 'password', 'residence', 'lakeCatalog']);
});
