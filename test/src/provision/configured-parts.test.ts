import { expect, test } from '@jest/globals';
import { loadConfig } from '../../../src/config/load-config.ts';
import { configuredParts } from '../../../src/provision/configured-parts.ts';
import { SMALL_HOST } from '../config/facts.ts';

const load = (env: Record<string, string>) =>
  loadConfig({ cwd: '/', env: { HOME: '/nowhere', ...env }, facts: SMALL_HOST });

test('nothing is configured when nobody named a part', async () => {
  expect(configuredParts(await load({}), () => 'unused')).toEqual({});
});

test('each named part is taken as it is', async () => {
  const config = await load({
    TEMPORAL_ADDRESS: 'temporal:7233',
    SPILLWAY_TRINO_URL: 'http://trino:8080',
    SPILLWAY_POSTGRES_URL: 'postgres://loader@db/mart',
    SPILLWAY_RUNTIME_IMAGE: 'runner:1',
    SPILLWAY_SCRATCH: '/scratch',
  });
  expect(configuredParts(config, () => 'unused')).toEqual({
    temporal: { address: 'temporal:7233', namespace: 'default' },
    trino: { url: 'http://trino:8080', lakeRoot: '/scratch' },
    postgres: { url: 'postgres://loader@db/mart' },
    image: { runtime: 'podman', version: '', flags: [], name: 'runner:1' },
  });
});
