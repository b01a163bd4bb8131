import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { loadConfig } from '../../src/config/load-config.ts';
import { connect, connectWorkers } from '../../src/worker/connect.ts';
import { probeTemporal } from '../../src/provision/temporal.ts';
import { secureFront, type SecuredFront } from './secured-front.ts';
import { poolBundle } from './stage-bundles.ts';
import { temporalServer } from './temporal-server.ts';

const KEY = 'key-of-a-test';
let env: TestWorkflowEnvironment;
let front: SecuredFront;
let folder: string;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  env = await temporalServer();
  front = await secureFront(env.address, KEY);
  folder = mkdtempSync(join(tmpdir(), 'spillway-secured-'));
  for (const [name, text] of [
    ['authority.pem', front.authority],
    ['client.pem', front.clientCert],
    ['client.key', front.clientKey],
  ] as const)
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  const tls = `server_ca_cert_path = "${join(folder, 'authority.pem')}"`;
  const pair = `client_cert_path = "${join(folder, 'client.pem')}"\nclient_key_path = "${join(folder, 'client.key')}"`;
  const server = `address = "${front.address}"\nnamespace = "default"`;
  writeFileSync(
    join(folder, 'temporal.toml'),
    [
      `[profile.prod]\n${server}\napi_key = "${KEY}"\n[profile.prod.tls]\n${tls}\n${pair}`,
      `[profile.stranger]\n${server}\n[profile.stranger.tls]\n${tls}`,
      `[profile.keyless]\n${server}\n[profile.keyless.tls]\n${tls}\n${pair}`,
    ].join('\n'),
  );
});
afterAll(async () => {
  await front[Symbol.asyncDispose]();
  await env.teardown();
  rmSync(folder, { recursive: true, force: true });
});

/** The configuration of a project that names a profile, and nothing else. */
async function configured(profile: string, extra: Record<string, string> = {}) {
  return loadConfig({
    cwd: folder,
    env: { HOME: folder, TEMPORAL_CONFIG_FILE: join(folder, 'temporal.toml'), ...extra },
    flags: { 'temporal.profile': profile },
  });
}

describe('a Temporal with TLS, client certificates and API keys', () => {
  test('clients and Workers get in with a profile: a workflow runs to its end through it', async () => {
    const config = await configured('prod');
    expect(config.temporal).toMatchObject({ address: front.address, namespace: 'default', profile: 'prod' });
    const { client, connection } = await connect(config.temporal);
    const native = await connectWorkers(config.temporal);
    try {
      const worker = await Worker.create({
        connection: native,
        taskQueue: 'secured',
        workflowBundle: await poolBundle(),
      });
      await worker.runUntil(async () => {
        const pool = await client.workflow.start('memoryPool', {
          workflowId: 'pool:secured',
          taskQueue: 'secured',
          args: [{ pool: 'secured' }],
        });
        expect(await pool.query('status')).toMatchObject({ pool: 'secured' });
        await pool.terminate();
      });
    } finally {
      await native.close();
      await connection.close();
    }
    await expect(probeTemporal(config.temporal.address, 'default', config.temporal.access)).resolves.toMatch(/^\d/);
  }, 60_000);

  test.each([
    ['without a client certificate', 'stranger', 'with TLS (profile stranger)'],
    ['without an API key', 'keyless', 'with TLS, a client certificate (profile keyless)'],
  ])('%s the door stays shut, and the message says what was tried', async (_, profile, tried) => {
    const { temporal } = await configured(profile);
    for (const open of [connect, connectWorkers] as const) {
      await expect(open(temporal)).rejects.toMatchObject({
        code: 'EngineUnreachable',
        message: expect.stringContaining(`listens, but does not let us in ${tried}`),
      });
    }
  });

  test('a wrong key of the environment stands above the one of the profile', async () => {
    const { temporal } = await configured('prod', { TEMPORAL_API_KEY: 'another' });
    await expect(connect(temporal)).rejects.toMatchObject({ message: expect.stringMatching(/wrong API key/) });
  });
});
