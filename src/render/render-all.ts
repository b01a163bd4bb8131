import { workerStandingBytes } from '../config/plan-facts.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { renderCompose, renderPodmanCompose } from './compose.ts';
import { renderPostgres } from './postgres.ts';
import { renderQuadlet } from './quadlet.ts';
import { containerTrino, type ServicePins } from './services.ts';
import { renderSystemd } from './systemd.ts';

const TRINO_FILES = './trino';

/**
 * Everything that one configuration decides, as relative path → text: Trino's files, a part of `postgresql.conf`, both compose files, systemd units
 * and Quadlet files. The same input gives the same text.
 */
export function renderAll(
  config: Pick<ResolvedConfig, 'hardware' | 'runtime' | 'drainMs'>,
  pins: ServicePins,
): Record<string, string> {
  const { hardware, runtime, drainMs } = config;
  const runFlags = runtime.kind === 'podman' ? runtime.flags : [];
  return {
    'docker-compose.yml': renderCompose(hardware, pins, { trinoFiles: TRINO_FILES }),
    'podman-compose.yml': renderPodmanCompose(hardware, pins, { trinoFiles: TRINO_FILES, runFlags }),
    ...under('trino', containerTrino(hardware, pins)),
    'postgres/spillway.conf': renderPostgres(hardware, { port: 5432 }),
    ...under('systemd', renderSystemd(hardware, { drainMs, workerBytes: workerStandingBytes(hardware) })),
    ...under('quadlet', renderQuadlet(hardware, pins)),
  };
}

const under = (folder: string, files: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]));
