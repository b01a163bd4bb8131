import type { RuntimeFound, RuntimeMissing } from '../host/container-runtime.ts';
import type { Parts } from '../contracts/parts.ts';
import type { Environment } from './command.ts';
import { oneLine, run } from './command.ts';
import { findOnPath } from './find-program.ts';
import type { Report } from './progress.ts';

/** A container runtime that was seen to run a container, with the flags that it took. */
export type ContainerRuntime = Pick<RuntimeFound, 'kind' | 'version' | 'flags'>;

/** Finds a runtime that starts a container, of these kinds and in this order (podman, docker), or says why none does. */
export type ProbeRuntime = (options?: {
  kinds?: readonly ContainerRuntime['kind'][];
}) => Promise<ContainerRuntime | RuntimeMissing>;

/** What Debian needs for Podman: the runtime, something that starts containers, and a first process for them. */
const PODMAN_PACKAGES = ['podman', 'runc', 'catatonit'];

/**
 * The container runtime of this host: the one that was `known` before, if it is still there in that version, else one that a probe
 * finds. Where there is none, Podman is installed if we are root, the host has apt, and
 * `systemPackages` allows it; it is said before it is done. Raises an error that names the way out.
 */
export async function containerRuntime(
  probe: ProbeRuntime,
  options: {
    systemPackages: boolean;
    env: Environment;
    report: Report;
    known?: Parts['image'];
    /** The only kind that will do. @defaultValue any */
    kind?: ContainerRuntime['kind'];
  },
): Promise<ContainerRuntime> {
  const { systemPackages, env, report, known, kind } = options;
  const only = kind === undefined ? {} : { kinds: [kind] };
  if (known && known.runtime !== 'process' && (kind ?? known.runtime) === known.runtime && (await isStill(known, env)))
    return { kind: known.runtime, version: known.version, flags: known.flags };
  const found = await probe(only);
  if (found.kind !== 'none') return found;
  const mend = kind === 'docker' ? 'Install Docker and start it' : 'Install Podman or Docker';
  if (kind === 'docker') throw new Error(`${found.because}. ${mend}`);
  const apt = findOnPath('apt-get', env);
  if (apt === undefined) throw new Error(`${found.because}. ${mend}`);
  if (!systemPackages) throw new Error(`${found.because}, and system packages may not be installed. ${mend}`);
  if (process.getuid?.() !== 0) {
    throw new Error(`${found.because}. Install one: sudo apt-get install ${PODMAN_PACKAGES.join(' ')}`);
  }
  report({ part: 'system', what: 'fetching', text: `Podman: installing ${PODMAN_PACKAGES.join(', ')} with apt` });
  const install = ['install', '--yes', '--no-install-recommends', ...PODMAN_PACKAGES];
  const quiet = { env: { ...env, DEBIAN_FRONTEND: 'noninteractive' }, timeoutMs: 10 * 60_000 };
  try {
    await run(apt, install, quiet).catch(async () => {
      await run(apt, ['update'], quiet); // its lists are empty on a fresh image
      return run(apt, install, quiet);
    });
  } catch (error) {
    throw new Error(`${found.because}, and apt could not install Podman: ${oneLine(error)}. ${mend}`);
  }
  const installed = await probe(only);
  if (installed.kind === 'none') throw new Error(`Podman was installed, but ${installed.because}. ${mend}`);
  return installed;
}

/** Whether the runtime that was probed before is the one that is there now: a probe takes a second or two. */
async function isStill(known: Parts['image'], env: Environment): Promise<boolean> {
  const text = await run(known.runtime, ['--version'], { env, timeoutMs: 20_000 }).catch(() => '');
  return known.version !== '' && text.includes(known.version);
}
