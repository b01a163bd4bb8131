// `npm run check:systemd`: what Spillway does on a host with systemd and cgroup version 2, in a virtual machine of its own. Where the machine cannot be made,
// it says "unverified" and why, and ends with 3. Checks that need Trino, for which an emulated processor may be too slow, run by name: `npm run check:systemd -- main-job`.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { bootstrap, root, run } from './bootstrap.mjs';

const home = process.env.SPILLWAY_HOME ?? join(homedir(), '.cache', 'spillway');
const folder = join(home, 'systemd');
const cache = join(home, 'cache');

/** The guest: first Debian whose podman knows Quadlet and whose systemd has the groups of version 2 alone. */
const SUITE = 'trixie';
const KEYRING = '/usr/share/keyrings/debian-archive-trixie-stable.gpg';
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'kmod', 'linux-image-cloud-amd64', 'initramfs-tools', 'iproute2'],
  ...['procps', 'util-linux', 'e2fsprogs', 'ca-certificates', 'curl', 'unzip', 'faketime'],
  ...['podman', 'runc', 'crun', 'catatonit', 'postgresql-17'],
];
const NEEDED = {
  'qemu-system-x86_64': 'qemu-system-x86',
  mmdebstrap: 'mmdebstrap',
  mke2fs: 'e2fsprogs',
  podman: 'podman',
};
const MEMORY_MIB = 10 * 1024;
/** An emulated processor is three to ten times slower. */
const LIMIT_MS = 60 * 60_000;

const jest = (project, pattern, more = '') =>
  `${more}node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js --selectProjects ${project} --runInBand --forceExit --testPathPatterns '${pattern}'`;
/** What is run when nobody names others. */
const WITHOUT_TRINO = ['units', 'memory-groups', 'containers'];
/** What can be run there, each in a scope of its own below system.slice, as from a user's shell. */
const CHECKS = {
  units: jest('systemd', 'units'),
  'memory-groups': jest('parts', 'memory-groups'),
  containers: jest('parts', 'container-runtime'),
  'main-job': jest('integration', 'main-job'),
  processes: jest('integration', 'process-steps'),
  chaos: jest('chaos', 'chaos', 'SPILLWAY_CHAOS_SEEDS=3 '),
};

const sh = (program, args) => {
  const ran = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (ran.status !== 0)
    throw new Error(
      `${program} ${args.join(' ').slice(0, 200)} ended with ${ran.status}: ${(ran.stderr ?? ran.error?.message ?? '').trim().split('\n').slice(-5).join('\n')}`,
    );
  return ran.stdout;
};

/** Why no such machine can be made here; empty where it can. */
function missing() {
  const why = [];
  if (process.getuid?.() !== 0) why.push('root is needed');
  const onPath = (name) => (process.env.PATH ?? '').split(':').some((at) => existsSync(join(at, name)));
  const packages = Object.entries(NEEDED).flatMap(([program, of]) => (onPath(program) ? [] : [of]));
  if (packages.length > 0) why.push(`install them: apt-get install ${packages.join(' ')}`);
  if (!existsSync(KEYRING)) why.push(`${KEYRING} is missing: a newer debian-archive-keyring has it`);
  if (!existsSync(cache)) why.push('the parts are not fetched yet: run `npm start` once');
  return why;
}

/** The archive that this host's own packages come from. */
function archive() {
  const lines = sh('apt-get', ['indextargets', '--format', '$(REPO_URI) $(ORIGIN)', 'Created-By: Packages']).split(
    '\n',
  );
  const found = lines
    .map((line) => line.split(' '))
    .find(([uri, origin]) => origin === 'Debian' && !uri.includes('security'));
  if (!found) throw new Error('no Debian archive is among the sources of apt: run `apt-get update`');
  return found[0];
}

const SERVICE = `[Unit]
Description=checks of Spillway
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/bin/bash /extra/check.sh
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
TimeoutStartSec=infinity
[Install]
WantedBy=graphical.target
`;

/** Makes the guest's first disk, or finds it: as long as nothing of it changed, it is made once. */
function base() {
  const name = createHash('sha256')
    .update(JSON.stringify([SUITE, PACKAGES, SERVICE]))
    .digest('hex')
    .slice(0, 12);
  const kept = join(folder, `base-${name}`);
  if (existsSync(kept)) return kept;
  for (const old of readdirSync(folder).filter((one) => one.startsWith('base-')))
    rmSync(join(folder, old), { recursive: true });
  console.error(`making a Debian ${SUITE} with systemd, podman and PostgreSQL …`);
  const aside = mkdtempSync(join(folder, 'making-'));
  try {
    const tree = join(aside, 'tree');
    sh('mmdebstrap', [
      '--variant=minbase',
      `--include=${PACKAGES.join(',')}`,
      `--keyring=${KEYRING}`,
      SUITE,
      tree,
      archive(),
    ]);
    writeFileSync(join(tree, 'etc/systemd/system/spillway-check.service'), SERVICE);
    const wants = join(tree, 'etc/systemd/system/graphical.target.wants');
    mkdirSync(wants, { recursive: true });
    symlinkSync('/etc/systemd/system/spillway-check.service', join(wants, 'spillway-check.service'));
    writeFileSync(join(tree, 'etc/hostname'), 'spillway-check\n');
    // Nothing that the checks have not asked for works beside them.
    for (const unit of ['postgresql.service', 'apt-daily.timer', 'apt-daily-upgrade.timer', 'e2scrub_all.timer'])
      symlinkSync('/dev/null', join(tree, 'etc/systemd/system', unit));
    mkdirSync(join(tree, 'extra'));
    writeFileSync(join(tree, 'etc/fstab'), 'LABEL=extra /extra ext4 ro 0 0\n');
    const boots = (begin) =>
      join(
        tree,
        'boot',
        readdirSync(join(tree, 'boot')).find((one) => one.startsWith(begin)),
      );
    copyFileSync(boots('vmlinuz-'), join(aside, 'vmlinuz'));
    copyFileSync(boots('initrd.img-'), join(aside, 'initrd'));
    disk(join(aside, 'root.img'), tree, 'root', '24G');
    rmSync(tree, { recursive: true });
    renameSync(aside, kept);
    return kept;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** The image of DataFusion that was made last here. */
function newestImage() {
  const listed = sh('podman', [
    'images',
    '--sort',
    'created',
    '--format',
    '{{.Repository}}:{{.Tag}}',
    'localhost/spillway-datafusion',
  ]);
  const [newest] = listed.trim().split('\n');
  if (!newest) throw new Error('podman has no image of DataFusion: run `npm start` once');
  return newest;
}

/** An ext4 file system of a folder's content; what is empty of it takes no room. */
function disk(path, from, label, size) {
  sh('mke2fs', ['-q', '-t', 'ext4', '-F', '-L', label, '-d', from, '-m', '0', path, size]);
}

/** Folders that lie in the guest where they lie here. */
function shared() {
  const java = readdirSync('/usr/lib/jvm', { withFileTypes: true })
    .filter((one) => one.isDirectory() && /(^|\D)2[4-9](\D|$)/.test(one.name))
    .map((one) => join('/usr/lib/jvm', one.name));
  return [root, cache, ...java.slice(0, 1)];
}

function guestScript(mounts, names) {
  const mount = mounts.map(([label, path]) => `mkdir -p '${path}' && mount LABEL=${label} '${path}'`);
  const checks = names.map(
    (name) => `
echo "── ${name}"
began=$SECONDS
if systemd-run --quiet --scope --slice=system.slice timeout 1500 bash -c ${JSON.stringify(`cd '${root}' && ${CHECKS[name]}`).replaceAll('$', '\\$')} 2>&1 | cat; then verdict=passed; else verdict=FAILED; fi
echo "check ${name}: $verdict after $((SECONDS - began)) s"`,
  );
  return `set -uo pipefail
exec 2>&1 # the line to outside is no terminal for programs
cp /extra/bin/node /usr/local/bin/ # units find it there
export CI=true HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/var/tmp LANG=C.UTF-8
ip link set lo up
${mount.join('\n')}
echo "loading the image of DataFusion"
podman load --quiet --input /extra/image.tar
echo "$(systemctl --version | head -1), Linux $(uname -r), $(podman --version), cgroup $(stat -fc %T /sys/fs/cgroup)"
${checks.join('\n')}
echo "all checks were tried"
`;
}

/** Boots the guest; resolves with what it said when it is off again. */
async function boot(kept, disks) {
  const drives = [join(kept, 'root.img'), ...disks].flatMap((file) => [
    '-drive',
    `file=${file},format=raw,if=virtio,snapshot=on,cache=unsafe`,
  ]);
  const machine = spawn(
    'qemu-system-x86_64',
    [
      // Emulated: what runs in containers and virtual machines itself seldom has KVM that a stock kernel boots on.
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-smp', '2', '-m', String(MEMORY_MIB), '-nodefaults', '-no-reboot', '-display', 'none', '-monitor', 'none'],
      ...['-kernel', join(kept, 'vmlinuz'), '-initrd', join(kept, 'initrd')],
      ...['-append', 'root=/dev/vda rw console=ttyS0 quiet systemd.default_timeout_start_sec=300s'],
      ...['-serial', `file:${join(folder, 'boot.log')}`, '-serial', 'stdio', ...drives],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TMPDIR: folder } },
  );
  const limit = setTimeout(() => machine.kill('SIGKILL'), LIMIT_MS);
  const stop = () => machine.kill('SIGKILL');
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const said = [];
  for await (const line of createInterface({ input: machine.stdout })) {
    console.error(line);
    said.push(line);
  }
  clearTimeout(limit);
  return said;
}

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in CHECKS));
const why = missing();
if (unknown.length > 0) {
  console.error(`no check is called ${unknown.join(', ')}. There are: ${Object.keys(CHECKS).join(', ')}`);
  process.exitCode = 2;
} else if (why.length > 0) {
  console.error(`unverified: ${why.join('; ')}`);
  process.exitCode = 3;
} else {
  const asked = names.length > 0 ? names : WITHOUT_TRINO;
  await bootstrap();
  mkdirSync(folder, { recursive: true });
  const kept = base();
  const work = mkdtempSync(join(folder, 'disks-'));
  try {
    const mounts = shared().map((path, index) => [`shared${index}`, path]);
    const extra = join(work, 'extra');
    mkdirSync(join(extra, 'bin'), { recursive: true });
    copyFileSync(process.execPath, join(extra, 'bin', 'node'));
    await run('podman', ['save', '--quiet', '--output', join(extra, 'image.tar'), newestImage()]);
    writeFileSync(join(extra, 'check.sh'), guestScript(mounts, asked));
    const disks = [['extra', extra], ...mounts].map(([label, path]) => {
      const file = join(work, `${label}.img`);
      disk(file, path, label, '12G');
      return file;
    });
    rmSync(extra, { recursive: true });
    console.error('booting it …');
    const said = await boot(kept, disks);
    const verdicts = said.filter((line) => /^check \S+: /.test(line));
    console.log(verdicts.join('\n'));
    const passed = verdicts.filter((line) => line.includes(': passed')).length;
    if (passed < asked.length || !said.includes('all checks were tried')) {
      console.log(
        `${asked.length - passed} of ${asked.length} checks failed or were not reached; the guest's own log: ${join(folder, 'boot.log')}`,
      );
      process.exitCode = 1;
    } else console.log(`all ${passed} checks passed`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
