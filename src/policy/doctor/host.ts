import type { Finding } from '../../contracts/doctor.ts';
import { formatBytes, MiB } from '../sizes.ts';

/** What a host has and allows, as far as it can be read. */
export interface HostReading {
  ramBytes: number;
  physicalCores: number;
  cgroups: { version: 'v1' | 'v2' } | { version: 'none'; because: string };
  /** Controllers of the hierarchy that matter to us. */
  controllers: { memory: boolean; cpuset: boolean };
  runtime:
    | {
        kind: 'podman' | 'docker';
        version: string;
        flags: readonly string[];
        limits: { memory: boolean; cpuset: boolean; cgroupParent: boolean };
      }
    | { kind: 'none'; because: string }
    /** Steps run without containers, by choice or because none could be had. */
    | { kind: 'process' };
  openFiles: number;
  /** Size of the host's tmpfs, bytes; 0 where there is none. */
  tmpfsBytes: number;
  selinux: 'enforcing' | 'permissive' | 'absent';
  /** People who can log in here, besides root and us. */
  otherUsers: readonly string[];
}

/** What the configuration wants of the host. */
export interface HostWants {
  profile: string;
  profileRamBytes: number;
  poolBytes: number;
  partitions: number;
  /** Most that the rows of one step may take in memory, before they go to files. */
  rowsInMemoryBytes: number;
}

/** Every file of a wide Parquet input and every spill file is one. */
const FEW_OPEN_FILES = 4096;

/** Judges a host against a profile. Pure. */
export function examineHost(host: HostReading, wants: HostWants): Finding[] {
  return [
    ram(host, wants),
    cores(host, wants),
    groups(host),
    cpuset(host),
    runtime(host),
    files(host),
    tmpfs(host, wants),
    selinux(host),
    users(host),
  ];
}

function ram({ ramBytes }: HostReading, { profile, profileRamBytes, poolBytes }: HostWants): Finding {
  const check = 'RAM';
  const pool = `the pool lends ${formatBytes(poolBytes)} of ${formatBytes(ramBytes)}`;
  if (poolBytes > ramBytes)
    return { check, verdict: 'fail', because: pool, mend: 'lower pool.limit, or take another hardware profile' };
  // Firmware and the kernel keep some of what a machine is sold with.
  return ramBytes < profileRamBytes * 0.9
    ? {
        check,
        verdict: 'warn',
        because: `${pool}; profile ${profile} is made for ${formatBytes(profileRamBytes)}`,
        mend: `hardware: 'auto'`,
      }
    : { check, verdict: 'ok', because: pool };
}

function cores({ physicalCores }: HostReading, { partitions }: HostWants): Finding {
  const check = 'cores';
  const because = `${physicalCores} physical cores, engines run ${partitions} partitions`;
  return partitions > physicalCores
    ? { check, verdict: 'warn', because, mend: `engines.datafusion.partitions: ${physicalCores}` }
    : { check, verdict: 'ok', because };
}

function groups({ cgroups, controllers }: HostReading): Finding {
  const check = 'memory groups';
  const only = 'ceilings are held by the ledger and the runtime alone';
  if (cgroups.version === 'none')
    return { check, verdict: 'warn', because: `${cgroups.because}; ${only}`, mend: 'run the worker as root, or by the systemd unit of `spillway render` (Delegate=yes)' }; // prettier-ignore
  return controllers.memory
    ? { check, verdict: 'ok', because: `cgroup ${cgroups.version}, memory groups can be made and limited` }
    : { check, verdict: 'warn', because: `cgroup ${cgroups.version} without the memory controller; ${only}`, mend: 'boot with cgroup_enable=memory' }; // prettier-ignore
}

function cpuset({ cgroups, controllers, runtime: found }: HostReading): Finding {
  const check = 'cpuset';
  if (found.kind === 'process') return { check, verdict: 'ok', because: 'processes are bound to cores by taskset' };
  if (cgroups.version === 'none') return { check, verdict: 'unverified', because: 'no groups can be made here' };
  if (controllers.cpuset && found.kind !== 'none' && !found.limits.cpuset)
    return { check, verdict: 'warn', because: `${found.kind} did not bind a container to a core in a trial: containers use all cores`, mend: 'run it as root, or on a host with cpuset delegated to this user' }; // prettier-ignore
  return controllers.cpuset
    ? { check, verdict: 'ok', because: 'containers can be bound to cores' }
    : { check, verdict: 'warn', because: 'the cpuset controller is not delegated: containers use all cores', mend: 'systemctl edit user@.service: [Service] Delegate=cpu cpuset io memory pids' }; // prettier-ignore
}

function runtime({ runtime: found, cgroups }: HostReading): Finding {
  const check = 'container runtime';
  if (found.kind === 'process') {
    const memory = cgroups.version === 'none' ? 'is looked at every 50 ms' : `is held by cgroup ${cgroups.version}`;
    return { check, verdict: 'warn', because: `DataFusion runs in processes of this user: memory ${memory}, network and files are not shut off`, mend: 'install podman, and run `spillway up` again (runtime.kind unset, a profile above ram-8)' }; // prettier-ignore
  }
  if (found.kind === 'none')
    return { check, verdict: 'fail', because: found.because, mend: 'install podman (apt-get install podman), or start docker' }; // prettier-ignore
  const flags = found.flags.length > 0 ? `, with ${found.flags.join(' ')}` : '';
  const because = `${found.kind} ${found.version} starts containers${flags}`;
  if (found.limits.memory && cgroups.version !== 'none' && !found.limits.cgroupParent)
    return { check, verdict: 'warn', because: `${because}, but none below a memory group of ours: each is held to what it was lent, all together only by what is booked`, mend: found.kind === 'docker' ? 'use podman, or set "exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json' : 'run it as root' }; // prettier-ignore
  return found.limits.memory
    ? { check, verdict: 'ok', because }
    : { check, verdict: 'fail', because: `${because}, but its memory limit did not hold in a trial`, mend: 'run it as root, or on a host with cgroup v2 delegated to this user' }; // prettier-ignore
}

function files({ openFiles }: HostReading): Finding {
  const check = 'open files';
  const because = `${openFiles} may be open at once`;
  return openFiles < FEW_OPEN_FILES
    ? { check, verdict: 'warn', because, mend: 'ulimit -n 20000, or LimitNOFILE=20000 in the unit' }
    : { check, verdict: 'ok', because };
}

function tmpfs({ tmpfsBytes }: HostReading, { rowsInMemoryBytes }: HostWants): Finding {
  const check = 'rows in memory';
  if (tmpfsBytes === 0)
    return { check, verdict: 'warn', because: 'there is no tmpfs at /dev/shm: rows between steps go to scratch', mend: `mount -t tmpfs -o size=${mebibytes(rowsInMemoryBytes)} tmpfs /dev/shm` }; // prettier-ignore
  const because = `/dev/shm has ${formatBytes(tmpfsBytes)}, the rows of one step may take ${formatBytes(rowsInMemoryBytes)}`;
  return tmpfsBytes < rowsInMemoryBytes
    ? { check, verdict: 'warn', because: `${because}: what is more goes to scratch`, mend: `mount -o remount,size=${mebibytes(rowsInMemoryBytes)} /dev/shm, or --shm-size of the container that runs the worker` } // prettier-ignore
    : { check, verdict: 'ok', because };
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / MiB)}M`;

function selinux({ selinux: state }: HostReading): Finding {
  const check = 'SELinux';
  return state === 'enforcing'
    ? { check, verdict: 'unverified', because: 'enforcing; mounts of containers were never tried under it here', mend: 'look for denials with ausearch -m avc after a first run' } // prettier-ignore
    : { check, verdict: 'ok', because: state };
}

function users({ otherUsers }: HostReading): Finding {
  const check = 'other users';
  return otherUsers.length === 0
    ? { check, verdict: 'ok', because: 'nobody else logs in here' }
    : {
        check,
        verdict: 'warn',
        because: `${otherUsers.join(', ')} can log in here, and everything on loopback is open to them`,
        mend: 'keep the host to yourself, or set TLS and accounts on Temporal, Trino and PostgreSQL',
      };
}
