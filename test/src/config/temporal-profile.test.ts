import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../../src/config/load-config.ts';
import { root } from '../render/golden.ts';
import { REFERENCE_HOST, SMALL_HOST } from './facts.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-profile-'));
  mkdirSync(join(folder, '.config', 'temporalio'), { recursive: true });
  writeFileSync(
    join(folder, '.config', 'temporalio', 'temporal.toml'),
    [
      '[profile.default]\naddress = "elsewhere:7233"\napi_key = "k"',
      '[profile.prod]\naddress = "prod:7233"\nnamespace = "etl"\napi_key = "from-file"',
      '[profile.nowhere]\nnamespace = "etl"',
      '[profile.odd]\naddress = "odd:7233"\n[profile.odd.tls]\ndisable_host_verification = true',
      '[profile.lost]\naddress = "lost:7233"\n[profile.lost.tls]\nserver_ca_cert_path = "/no/such.pem"',
    ].join('\n'),
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

const load = (settings: { env?: Record<string, string>; flags?: Record<string, string> } = {}) =>
  loadConfig({ cwd: folder, env: { HOME: folder, ...settings.env }, flags: settings.flags ?? {}, facts: SMALL_HOST });

describe('a profile that was asked for', () => {
  test('gives address, namespace and key; whoever names it, the file is found where Temporal looks for it', async () => {
    for (const settings of [{ flags: { 'temporal.profile': 'prod' } }, { env: { TEMPORAL_PROFILE: 'prod' } }]) {
      const { temporal, origins, serversHere } = await load(settings);
      expect(temporal).toEqual({
        address: 'prod:7233',
        namespace: 'etl',
        profile: 'prod',
        access: { apiKey: 'from-file', tls: true },
      });
      expect(origins['temporal.address']).toBe('file');
      expect(serversHere.temporal).toBe(false);
    }
  });

  test('stands below what the configuration says, its secrets below the environment', async () => {
    const { temporal } = await load({
      env: { TEMPORAL_API_KEY: 'rotated', TEMPORAL_NAMESPACE: 'other' },
      flags: { 'temporal.profile': 'prod', 'temporal.address': 'standby:7233' },
    });
    expect(temporal).toMatchObject({ address: 'standby:7233', namespace: 'other', access: { apiKey: 'rotated' } });
  });

  test.each([
    ['a name that the file does not have', 'typo', /temporal.profile cannot be used, got typo .*not found/],
    ['a profile without a server', 'nowhere', /temporal.profile must name a server, got nowhere without address/],
    ['an option that the client does not know', 'odd', /got odd .*unrecognized.*disable_host_verification/],
    ['a certificate that is not there', 'lost', /got lost .*no such file.*\/no\/such.pem/],
  ])('%s is refused', async (_, profile, message) => {
    await expect(load({ flags: { 'temporal.profile': profile } })).rejects.toThrow(message);
  });

  test('a file that is not there is refused', async () => {
    await expect(load({ flags: { 'temporal.configFile': 'no.toml' } })).rejects.toThrow(
      /temporal.configFile must be a file that exists, got no.toml \(--temporal-config-file\)/,
    );
  });
});

test('nobody asked: a default profile and keys of the environment stay away from what spillway up started', async () => {
  const { temporal } = await load({ env: { TEMPORAL_API_KEY: 'k', TEMPORAL_TLS: 'true' } });
  expect(temporal).toEqual({ address: '127.0.0.1:7233', namespace: 'default' });
});

test('an address in the environment goes with the keys of the environment', async () => {
  const { temporal } = await load({ env: { TEMPORAL_API_KEY: 'k', TEMPORAL_ADDRESS: 'cloud:7233' } });
  expect(temporal).toEqual({ address: 'cloud:7233', namespace: 'default', access: { apiKey: 'k', tls: true } });
});

test('the production example is taken as it stands, on the machine it is for', async () => {
  const example = join(root, 'examples', 'production');
  const toml = readFileSync(join(example, 'temporal.toml'), 'utf8').replaceAll('/etc/spillway', folder);
  writeFileSync(join(folder, 'temporal.toml'), toml);
  const bundle = join(folder, 'bundle.js');
  writeFileSync(bundle, '');
  for (const [, file] of toml.matchAll(/_path = "(.*)"/g)) writeFileSync(file!, 'pem');
  const config = await loadConfig({
    cwd: example,
    env: {
      ...{ HOME: folder, TEMPORAL_CONFIG_FILE: join(folder, 'temporal.toml') },
      ...{ SPILLWAY_SECRET_MART: 's', SPILLWAY_BUNDLE: bundle },
    },
    flags: {},
    facts: REFERENCE_HOST,
  });
  expect(config.temporal).toMatchObject({
    address: 'temporal.internal:7233',
    namespace: 'elt',
    access: { tls: { clientCertPair: { crt: Buffer.from('pem') } } },
  });
  expect(config.trino['default']).toMatchObject({ residence: 'resident' });
});
