import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { DoctorReport, Finding } from '../../src/contracts/doctor.ts';
import { execa } from 'execa';
import { openCgroupTree } from '../../src/host/cgroup-tree.ts';
import { Stack } from './stack.ts';
import { eventually } from './stack-waiting.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.open('doctor');
  await stack.worker();
}, 600_000);
afterAll(async () => {
  await stack?.sql('alter system reset work_mem');
  await stack?.sql('select pg_reload_conf()');
  await stack?.close();
}, 90_000);

async function doctor(
  ...flags: string[]
): Promise<{ exit: number | undefined; report: DoctorReport; find: (check: string) => Finding }> {
  const { exit, stdout, stderr } = await stack.spillway('doctor', ['--json', ...flags]);
  expect(stderr).toBe('');
  const report = JSON.parse(stdout) as DoctorReport;
  return { exit, report, find: (check) => report.findings.find((finding) => finding.check === check)! };
}

test('parts that `spillway up` started, and a worker, are as they should be', async () => {
  const { exit, report, find } = await doctor();
  expect(report.findings.filter(({ verdict }) => verdict === 'fail')).toEqual([]);
  expect(exit).toBe(0);
  for (const check of [
    'memory groups',
    'container runtime',
    'Temporal',
    'search attributes',
    'queues',
    'Trino default memory',
    'PostgreSQL default settings',
  ]) {
    expect(find(check)).toMatchObject({ check, verdict: 'ok' });
  }
}, 60_000);

test('settings in force that are not the rendered ones are named, with what mends them', async () => {
  await stack.sql(`alter system set work_mem = '1MB'`);
  await stack.sql('select pg_reload_conf()');
  await eventually(async () => {
    const [row] = await stack.sql<{ work_mem: string }>('show work_mem');
    return row?.work_mem === '1MB' || undefined;
  });
  const changed = await doctor(
    '--engines-trino-heap',
    '1500MB',
    '--engines-trino-max-memory-per-node',
    '400MB',
    '--engines-trino-max-total-memory',
    '500MB',
  );
  expect(changed.exit).toBe(3);
  expect(changed.find('PostgreSQL default settings')).toMatchObject({
    verdict: 'fail',
    because: expect.stringMatching(/^work_mem is 1048576, the profile wants \d+$/),
    mend: 'spillway down && spillway up',
  });
  expect(changed.find('Trino default memory')).toMatchObject({
    verdict: 'fail',
    because: expect.stringMatching(/heap .* instead of 1.5 GiB/),
  });
}, 60_000);

test('a Temporal that is not there, and queues of a pool that nobody works for', async () => {
  const silent = await doctor('--temporal-address', '127.0.0.1:1');
  expect(silent.find('Temporal')).toMatchObject({ verdict: 'fail', mend: 'spillway up' });
  const elsewhere = await doctor('--temporal-namespace', 'nobodys');
  expect(elsewhere.find('Temporal')).toMatchObject({
    because: expect.stringMatching(/has no namespace 'nobodys'/),
    mend: expect.stringMatching(/^temporal operator namespace create --namespace nobodys --address \S+$/),
  });
  const other = await doctor('--pool-name', 'nobodys');
  expect(other.find('queues')).toMatchObject({ verdict: 'warn', because: expect.stringContaining('nobodys.heavy') });
}, 60_000);

/** What the doctor with this pid tried the host with and has not removed. */
async function leftBy(pid: number | undefined): Promise<string[]> {
  const { runtime } = stack.parts.image;
  const [images, containers] = await Promise.all([
    execa(runtime, ['images', '--format', '{{.Repository}}']),
    execa(runtime, ['ps', '--all', '--format', '{{.Names}}']),
  ]);
  const cgroups = await openCgroupTree();
  const groups = cgroups.version === 'none' ? [] : await cgroups.children('/');
  const names = [...images.stdout.split('\n'), ...containers.stdout.split('\n'), ...groups];
  return names.filter((name) => new RegExp(`spillway-(probe|doctor)-${pid}(-|$)`).test(name));
}

test('what a doctor that was killed left is removed by the next', async () => {
  const killed = stack.spawnSpillway('doctor', ['--json']);
  await eventually(async () => (await leftBy(killed.pid)).some((name) => /probe-\d+-/.test(name)) || undefined);
  killed.kill('SIGKILL');
  await killed.ran;
  expect(await leftBy(killed.pid)).not.toEqual([]);
  await doctor();
  expect(await leftBy(killed.pid)).toEqual([]);
}, 90_000);
