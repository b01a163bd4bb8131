import { describe, expect, test } from '@jest/globals';
import type { Finding } from '../../../../src/contracts/doctor.ts';
import {
  examineDirectory,
  examineWebDirectory,
  type DirectoryReading,
  type WebReading,
} from '../../../../src/policy/doctor/directories.ts';
import { examineHost, type HostReading, type HostWants } from '../../../../src/policy/doctor/host.ts';
import { examineScratch, type ScratchReading } from '../../../../src/policy/doctor/scratch.ts';
import { examinePostgres, examineTemporal, examineTrino } from '../../../../src/policy/doctor/servers.ts';
import { GiB, MiB } from '../../../../src/policy/sizes.ts';

const HOST: HostReading = {
  ramBytes: 24 * GiB,
  physicalCores: 2,
  cgroups: { version: 'v2' },
  controllers: { memory: true, cpuset: true },
  runtime: { kind: 'podman', version: '5.0', flags: [], limits: { memory: true, cpuset: true, cgroupParent: true } },
  openFiles: 20_000,
  tmpfsBytes: 12 * GiB,
  selinux: 'absent',
  otherUsers: [],
};
const WANTS: HostWants = {
  profile: 'auto',
  profileRamBytes: 24 * GiB,
  poolBytes: 12 * GiB,
  partitions: 2,
  rowsInMemoryBytes: 4 * GiB,
};

const NONE = { files: 0, bytes: 0, largest: [] as string[] };

/** Findings that are not ok; each of them says what to do about it, unless nobody can. */
const troubles = (findings: Finding[]): string[] =>
  findings
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ check, verdict, because, mend }) => `${check}: ${verdict}: ${because} → ${mend ?? '–'}`);

describe('a host', () => {
  test('that has what the profile wants is ok', () => expect(troubles(examineHost(HOST, WANTS))).toEqual([]));

  test.each<[string, Partial<HostReading>, Partial<HostWants>, RegExp]>([
    [
      'a pool beyond the RAM',
      {},
      { poolBytes: 512 * GiB },
      /^RAM: fail: the pool lends 512 GiB of 24 GiB → lower pool.limit/,
    ],
    [
      'a profile of a larger machine',
      {},
      { profile: 'ram-64', profileRamBytes: 64 * GiB },
      /^RAM: warn: .* profile ram-64 is made for 64 GiB → hardware: 'auto'/,
    ],
    ['more partitions than cores', {}, { partitions: 16 }, /^cores: warn: 2 physical cores, engines run 16 partitions/],
    [
      'a hierarchy without the memory controller',
      { controllers: { memory: false, cpuset: true } },
      {},
      /^memory groups: warn: cgroup v2 without the memory controller/,
    ],
    [
      'a cpuset that is not delegated',
      { controllers: { memory: true, cpuset: false } },
      {},
      /^cpuset: warn: .*not delegated.* → systemctl edit/,
    ],
    [
      'no runtime',
      { runtime: { kind: 'none', because: 'podman: not on PATH' } },
      {},
      /^container runtime: fail: podman: not on PATH → install podman/,
    ],
    [
      'a runtime whose limits do not hold',
      {
        runtime: {
          kind: 'docker',
          version: '1',
          flags: ['--x'],
          limits: { memory: false, cpuset: true, cgroupParent: true },
        },
      },
      {},
      /^container runtime: fail: docker 1 starts containers, with --x, but its memory limit did not hold/,
    ],
    [
      'a docker that leaves groups to systemd',
      {
        runtime: {
          kind: 'docker',
          version: '1',
          flags: [],
          limits: { memory: true, cpuset: true, cgroupParent: false },
        },
      },
      {},
      /^container runtime: warn: docker 1 starts containers, but none below a memory group of ours.* → use podman, or set "exec-opts"/,
    ],
    [
      'a runtime that binds no container to a core',
      {
        runtime: {
          kind: 'podman',
          version: '4',
          flags: [],
          limits: { memory: true, cpuset: false, cgroupParent: true },
        },
      },
      {},
      /^cpuset: warn: podman did not bind a container to a core/,
    ],
    ['few open files', { openFiles: 1024 }, {}, /^open files: warn: 1024 may be open at once → ulimit -n/],
    ['a small tmpfs, as containers have', { tmpfsBytes: 64 * MiB }, {}, /^rows in memory: warn: \/dev\/shm has 64 MiB, the rows of one step may take 4 GiB: what is more goes to scratch → mount -o remount,size=4096M \/dev\/shm, or --shm-size/], // prettier-ignore
    ['no tmpfs', { tmpfsBytes: 0 }, {}, /^rows in memory: warn: there is no tmpfs at \/dev\/shm.* → mount -t tmpfs/],
    ['SELinux, which was never tried', { selinux: 'enforcing' }, {}, /^SELinux: unverified: /],
    ['people who log in', { otherUsers: ['ann', 'bob'] }, {}, /^other users: warn: ann, bob can log in here/],
  ])('with %s is told so', (_title, host, wants, expected) => {
    const found = troubles(examineHost({ ...HOST, ...host }, { ...WANTS, ...wants }));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test('without any groups says what that weakens, and what it could not look at', () => {
    const found = troubles(examineHost({ ...HOST, cgroups: { version: 'none', because: 'read-only' } }, WANTS));
    expect(found.map((line) => line.split(':').slice(0, 2).join(':'))).toEqual([
      'memory groups: warn',
      'cpuset: unverified',
    ]);
  });
});

describe('the scratch root', () => {
  const GOOD: ScratchReading = {
    there: true,
    path: '/s',
    freeBytes: 100 * GiB,
    isTmpfs: false,
    isLink: false,
    own: true,
    writeBytesPerSecond: 2e9,
  };
  test.each<[string, Partial<typeof GOOD>, RegExp[]]>([
    ['as it should be', {}, []],
    ['in memory', { isTmpfs: true }, [/^scratch: fail: \/s lies in memory/]],
    [
      'behind a link that others may turn',
      { isLink: true, own: false },
      [/^scratch: fail: \/s is a symbolic link; others may write to \/s → set scratch/],
    ],
    [
      'with less than is lent',
      { freeBytes: GiB },
      [/^scratch space: fail: 1 GiB free at \/s, of which 32 GiB are lent/],
    ],
    ['on a slow disk', { writeBytesPerSecond: 50e6 }, [/^scratch speed: warn: 50 MB\/s/]],
  ])('%s', (_title, scratch, expected) => {
    const found = troubles(examineScratch({ ...GOOD, ...scratch }, 32 * GiB));
    expect(found).toEqual(expected.map((line) => expect.stringMatching(line)));
  });
  test('that nobody made yet', () =>
    expect(troubles(examineScratch({ there: false, path: '/s' }, 1))).toEqual([
      'scratch: warn: /s is not there yet → spillway up',
    ]));
});

describe('servers', () => {
  const TEMPORAL = {
    answers: true,
    version: '1.31',
    address: '127.0.0.1:7233',
    tls: false,
    missingAttributes: [],
    addAttributes: 'temporal operator …',
    unpolled: [],
  } as const;
  test.each<[string, Parameters<typeof examineTemporal>[0], RegExp[]]>([
    ['Temporal as it should be', TEMPORAL, []],
    [
      'a silent Temporal',
      { answers: false, because: 'nobody listens' },
      [/^Temporal: fail: nobody listens → spillway up/],
    ],
    [
      'a Temporal on the network',
      { ...TEMPORAL, address: 'temporal.internal:7233' },
      [/^Temporal exposure: warn: temporal.internal:7233 is spoken to without TLS/],
    ],
    ['a Temporal on the network with TLS', { ...TEMPORAL, address: 'temporal.internal:7233', tls: true }, []],
    [
      'missing search attributes',
      { ...TEMPORAL, missingAttributes: ['SpillwayPool'] },
      [/^search attributes: warn: SpillwayPool missing.* → temporal operator/],
    ],
    [
      'queues that nobody polls',
      { ...TEMPORAL, unpolled: ['default.heavy'] },
      [/^queues: warn: nobody polls default.heavy → spillway worker/],
    ],
  ])('%s', (_title, temporal, expected) =>
    expect(troubles(examineTemporal(temporal))).toEqual(expected.map((line) => expect.stringMatching(line))),
  );

  const TRINO = {
    answers: true,
    version: '476',
    url: 'http://t',
    found: { heapBytes: 2 * GiB, poolBytes: GiB },
  } as const;
  test.each<[string, Parameters<typeof examineTrino>[1], RegExp[]]>([
    ['a Trino of the profile', { ...TRINO, wanted: { heapBytes: 2 * GiB, poolBytes: GiB } }, []],
    [
      'one with another heap',
      { ...TRINO, wanted: { heapBytes: 3 * GiB, poolBytes: GiB } },
      [/^Trino default memory: fail: heap 2 GiB instead of 3 GiB → spillway down && spillway up/],
    ],
    ['somebody else’s', TRINO, [/^Trino default memory: unverified: heap 2 GiB; the server is somebody else's/]],
  ])('%s', (_title, trino, expected) =>
    expect(troubles(examineTrino('default', trino))).toEqual(expected.map((line) => expect.stringMatching(line))),
  );

  const settings = [{ name: 'work_mem', wanted: String(4 * MiB), found: String(MiB) }];
  test.each<[string, boolean, RegExp]>([
    [
      'of ours',
      true,
      /^PostgreSQL default settings: fail: work_mem is 1048576, the profile wants 4194304 → spillway down/,
    ],
    ['of somebody else', false, /settings: warn: .* → alter system set work_mem = '4194304'; then restart it/],
  ])('a PostgreSQL %s with another setting', (_title, ours, expected) => {
    const found = troubles(
      examinePostgres('default', { answers: true, version: '15', ours, settings, walLevel: 'replica', orphans: NONE }),
    );
    expect(found).toEqual([expect.stringMatching(expected)]);
  });

  test.each<[string, typeof NONE | undefined, RegExp]>([
    ['with files of no table', { files: 7, bytes: 3 * GiB, largest: ['base/5/24601', 'base/5/24602'] }, /^PostgreSQL default files: warn: 3 GiB in 7 files belong to no table: .* → back the server up, stop it, and remove base\/5\/24601, base\/5\/24602 and others from/], // prettier-ignore
    ['whose files nobody may list', undefined, /^PostgreSQL default files: unverified: this user may not list/],
  ])('a PostgreSQL %s', (_title, orphans, expected) => {
    const postgres = { answers: true, version: '15', ours: true, settings: [], walLevel: 'replica', orphans } as const;
    expect(troubles(examinePostgres('default', postgres))).toEqual([expect.stringMatching(expected)]);
  });
});

describe('a web server with files', () => {
  const site = { name: 'site', url: 'https://data.example/v1' };
  test.each([200, 301, 403, 404])('that answers is ok, whatever it says of the address above them (%s)', (status) =>
    expect(examineWebDirectory({ ...site, status })).toEqual({ check: 'directory site', verdict: 'ok', because: 'https://data.example/v1 answers' })); // prettier-ignore
  test.each<[string, Partial<WebReading>, RegExp]>([
    ['that does not answer', { because: 'connect ECONNREFUSED' }, /^directory site: fail: .* does not answer: connect ECONNREFUSED → look after/],
    ['whose token cannot be read', { noToken: "no secret 'site'" }, /^directory site: fail: .* was not asked: no secret 'site' → keep the secret that directories\.site\.token names/],
    ['that wants a token', { status: 401 }, /^directory site: warn: .* answers 401 → set directories\.site\.token/],
    ['that is ill', { status: 502 }, /^directory site: warn: .* answers 502 → look after/],
  ])('%s', (_title, over, says) => expect(troubles([examineWebDirectory({ ...site, ...over })])).toEqual([expect.stringMatching(says)])); // prettier-ignore
});

describe('a directory', () => {
  const lake: DirectoryReading = { name: 'lake', path: '/data/lake', access: 'write', found: 'directory', readable: true, writable: true, readableByOthers: true }; // prettier-ignore
  test('that steps may use is ok', () => {
    expect(examineDirectory(lake)).toEqual({ check: 'directory lake', verdict: 'ok', because: '/data/lake may be read and written to' }); // prettier-ignore
    expect(troubles([examineDirectory({ ...lake, access: 'read', writable: false })])).toEqual([]);
  });
  test.each<[string, Partial<DirectoryReading>, RegExp]>([
    ['that is not there', { found: 'absent' }, /^directory lake: fail: \/data\/lake is not there → mkdir -p \/data\/lake/],
    ['that is a file', { found: 'no directory' }, /fail: .* is no directory → set directories\.lake\.path/],
    ['that is closed', { readable: false }, /fail: .* may not be read by this user → give/],
    ['that cannot be written to', { writable: false }, /fail: .* may not be written to .*access to 'read'/],
    ['that is closed to containers', { readableByOthers: false }, /warn: .* containers read it as one → chmod o\+rx/],
  ])('%s', (_title, over, says) => expect(troubles([examineDirectory({ ...lake, ...over })])).toEqual([expect.stringMatching(says)])); // prettier-ignore
});
