import { expect, test } from '@jest/globals';
import type { ContainerSpec } from '../../../../src/engines/container/container-port.ts';
import { runArguments, type HostArguments } from '../../../../src/engines/container/run-arguments.ts';

const spec: ContainerSpec = {
  ...{ run: 'r', step: 's', token: 1, pool: 'dev', image: 'image:1', command: ['job.json', '; rm -rf /'] },
  ...{
    memoryBytes: 600_000_000,
    cpuset: '0,1',
    timeoutMs: 1500,
    mounts: [{ source: '/data/a', target: '/in/0', writable: false }],
  },
};
const host: HostArguments = {
  kind: 'podman',
  flags: ['--runtime', 'runc'],
  user: '65534:65534',
  rootless: false,
  selinux: false,
};

/** Value that follows a flag. */
const after = (args: string[], flag: string): string | undefined => args[args.indexOf(flag) + 1];

test.each([
  ['--memory', '600000000'],
  ['--memory-swap', '600000000'],
  ['--cpuset-cpus', '0,1'],
  ['--network', 'none'],
  ['--cap-drop', 'all'],
  ['--security-opt', 'no-new-privileges'],
  ['--user', '65534:65534'],
  ['--pids-limit', '512'],
  ['--oom-score-adj', '500'],
  ['--pull', 'never'],
  ['--log-driver', 'none'],
  ['--cgroups', 'no-conmon'],
  ['--timeout', '62'],
  ['--volume', '/data/a:/in/0:ro'],
])('every container is started with %s %s', (flag, value) => expect(after(runArguments(spec, host), flag)).toBe(value));

test('the root is read-only, the flags of the host come before the image, the command last and untouched', () => {
  const args = runArguments(spec, host);
  expect(args[0]).toBe('run');
  expect(args).toContain('--read-only');
  expect(args.slice(-5)).toEqual(['--runtime', 'runc', 'image:1', 'job.json', '; rm -rf /']);
});

test('a group is named only where there is one, docker gets no podman flag, SELinux gets labels', () => {
  expect(runArguments(spec, host)).not.toContain('--cgroup-parent');
  expect(after(runArguments(spec, { ...host, cgroupParent: '/p/s' }), '--cgroup-parent')).toBe('/p/s');
  expect(runArguments(spec, { ...host, kind: 'docker' })).not.toContain('--timeout');
  // podman's other manager of groups takes slices of systemd only.
  expect(after(runArguments(spec, { ...host, cgroupParent: '/p/s' }), '--cgroup-manager')).toBe('cgroupfs');
  expect(runArguments(spec, { ...host, kind: 'docker', cgroupParent: '/p/s' })).not.toContain('--cgroup-manager');
  expect(after(runArguments(spec, { ...host, selinux: true }), '--volume')).toBe('/data/a:/in/0:ro,z');
});

test('a container of podman without root keeps our own id', () => {
  expect(runArguments(spec, host)).not.toContain('--userns');
  expect(after(runArguments(spec, { ...host, rootless: true }), '--userns')).toBe('keep-id');
  expect(runArguments(spec, { ...host, rootless: true, kind: 'docker' })).not.toContain('--userns');
});

test('a path with a colon is refused by name, since the runtime would read it as options', () => {
  const mounts = [{ source: '/data:rw', target: '/in', writable: false }];
  expect(() => runArguments({ ...spec, mounts }, host)).toThrow('must not hold a colon: /data:rw');
});
