import { MiB } from '../../policy/sizes.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { belowGroup } from '../../host/container-runtime.ts';
import { containerLabels, containerName } from './container-name.ts';
import type { ContainerSpec, Mount } from './container-port.ts';

/** What of a start is the host's and not the step's. */
export interface HostArguments {
  kind: 'podman' | 'docker';
  /** Found by probeRuntime. */
  flags: readonly string[];
  /** `uid:gid`, never root. */
  user: string;
  /** Group to start below; absent where groups cannot be made. */
  cgroupParent?: string;
  /** Whether we are not root ourselves: our own id must then be the same inside, or files would belong to nobody. */
  rootless: boolean;
  /** Label shared mounts for SELinux. */
  selinux: boolean;
}

/** Seconds past our own deadline after which the runtime ends a container whose worker is gone. */
const BACKSTOP_SECONDS = 60;

/** Arguments of the runtime's command for one container. Pure; no shell ever sees them. */
export function runArguments(spec: ContainerSpec, host: HostArguments): string[] {
  return [
    'run',
    ...['--name', containerName(spec)],
    ...Object.entries(containerLabels(spec)).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
    ...(host.cgroupParent === undefined ? [] : belowGroup(host.kind, host.cgroupParent)),
    // podman's monitor stays in our group: in the step's it can be the kernel's victim, and then nobody records how the container ended.
    ...(host.kind === 'podman' ? ['--cgroups', 'no-conmon'] : []),
    // Swap counts with memory: equal values mean none, the default would be as much again.
    ...['--memory', String(spec.memoryBytes), '--memory-swap', String(spec.memoryBytes)],
    ...['--cpuset-cpus', spec.cpuset],
    ...['--network', 'none', '--read-only', '--cap-drop', 'all', '--security-opt', 'no-new-privileges'],
    ...(host.rootless && host.kind === 'podman' ? ['--userns', 'keep-id'] : []),
    ...['--user', host.user, '--pids-limit', String(spec.pidsLimit ?? 512)],
    // When the pool's ceiling is passed, a container goes before the worker.
    ...['--oom-score-adj', '500'],
    // Attached output reaches us all the same; a log driver would copy it to a file that nobody reads.
    ...['--pull', 'never', '--log-driver', 'none'],
    ...['--tmpfs', `/tmp:rw,size=${spec.tmpBytes ?? 16 * MiB},mode=1777,${tmpOwner(host)}`],
    ...(host.kind === 'podman' ? ['--timeout', String(Math.ceil(spec.timeoutMs / 1000) + BACKSTOP_SECONDS)] : []),
    ...spec.mounts.flatMap((mount) => ['--volume', volume(mount, host.selinux)]),
    ...Object.entries(spec.environment ?? {}).flatMap(([key, value]) => ['--env', `${key}=${value}`]),
    ...host.flags,
    spec.image,
    ...spec.command,
  ];
}

/** The image's /tmp decides the mode of a tmpfs over it, whatever is asked, so it is owned by who writes there. */
function tmpOwner({ kind, user }: HostArguments): string {
  const [uid, gid = uid] = user.split(':');
  return kind === 'podman' ? 'U' : `uid=${uid},gid=${gid}`;
}

function volume({ source, target, writable }: Mount, selinux: boolean): string {
  if (source.includes(':') || target.includes(':')) {
    throw new SpillwayError(
      'InvalidInput',
      `a mounted path must not hold a colon: ${source}; choose another scratch directory`,
    );
  }
  return `${source}:${target}:${writable ? 'rw' : 'ro'}${selinux ? ',z' : ''}`;
}
