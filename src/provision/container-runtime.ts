import type { Environment } from './command.ts';
import { oneLine, run } from './command.ts';
import { findOnPath } from './find-program.ts';
import type { Report } from './progress.ts';

/** A container runtime that was seen to run a container, with the flags that it took. */
export interface ContainerRuntime {
  readonly kind: 'podman' | 'docker';
  readonly version: string;
  readonly flags: string[];
}

/** Finds a runtime that works; undefined when there is none. */
export type ProbeRuntime = () => Promise<ContainerRuntime | undefined>;

/** What Debian needs for Podman: the runtime, something that starts containers, and a first process for them. */
const PODMAN_PACKAGES = ['podman', 'runc', 'catatonit'];

/**
 * The container runtime of this host. Where there is none, Podman is installed if we are root, the host has apt, and
 * `systemPackages` allows it; it is said before it is done. Raises an error that names the way out.
 */
export async function containerRuntime(
  probe: ProbeRuntime,
  options: { systemPackages: boolean; env: Environment; report: Report },
): Promise<ContainerRuntime> {
  const { systemPackages, env, report } = options;
  const found = await probe();
  if (found) return found;
  const mend = 'Install Podman or Docker';
  const apt = findOnPath('apt-get', env);
  if (apt === undefined) throw new Error(`no container runtime works here. ${mend}`);
  if (!systemPackages) throw new Error(`no container runtime works here, and system packages may not be installed. ${mend}`);
  if (process.getuid?.() !== 0) {
    throw new Error(`no container runtime works here. Install one: sudo apt-get install ${PODMAN_PACKAGES.join(' ')}`);
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
    throw new Error(`no container runtime works here, and apt could not install Podman: ${oneLine(error)}. ${mend}`);
  }
  const installed = await probe();
  if (!installed) throw new Error(`Podman was installed, but no container starts with it. Try: podman run --rm hello-world`);
  return installed;
}
