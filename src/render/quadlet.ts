import type { ResolvedHardware } from '../config/resolved.ts';
import { services, type Service, type ServicePins } from './services.ts';
import { comment, containerSize } from './settings-text.ts';

/** Where the rendered folder lies on the host that runs the units. */
const INSTALLED = '/etc/spillway';

/**
 * Quadlet files (podman 4.4 or newer, `/etc/containers/systemd`): each server as a systemd service with the limits of one hardware profile.
 * Trino's files are read from `/etc/spillway/trino`. The same input gives the same text.
 */
export function renderQuadlet(hardware: ResolvedHardware, pins: ServicePins): Record<string, string> {
  return Object.fromEntries(
    services(hardware, pins, `${INSTALLED}/trino`).map((service) => [
      `spillway-${service.name}.container`,
      container(service, hardware),
    ]),
  );
}

function container(service: Service, { postgres, temporal }: ResolvedHardware): string {
  const charged = { temporal: temporal.chargeTo, postgres: postgres.chargeTo, trino: 'pool' }[service.name];
  const { image, command, environment = [], ports, volumes, health } = service;
  const limit = containerSize(service.memoryBytes);
  // What Quadlet of podman 4.4 has no key for.
  const flags = [`--memory=${limit}`, `--memory-swap=${limit}`];
  if (service.cpuset !== undefined) flags.push(`--cpuset-cpus=${service.cpuset}`);
  if (service.shmBytes !== undefined) flags.push(`--shm-size=${containerSize(service.shmBytes)}`);
  const secrets = environment.filter(({ value }) => value.startsWith('${'));
  const lines = [
    comment(`${service.name} for Spillway. Rendered from the hardware profile.`).trimEnd(),
    '[Unit]',
    `Description=Spillway: ${service.name}`,
    'Wants=network-online.target',
    'After=network-online.target',
    '',
    '[Container]',
    `ContainerName=spillway-${service.name}`,
    `Image=${image.registry}/${image.name}`,
    ...(command ? [`Exec=${command.map(word).join(' ')}`] : []),
    ...environment
      .filter((variable) => !secrets.includes(variable))
      .map(({ name, value }) => `Environment=${word(`${name}=${value}`)}`),
    ...secrets.flatMap(({ name }) => [
      `# ${name} stands here, mode 600: an account with a known password does not belong on any host.`,
      `EnvironmentFile=${INSTALLED}/${service.name}.env`,
    ]),
    ...ports.map(({ host, container: inside }) => `PublishPort=127.0.0.1:${host}:${inside}`),
    ...volumes.map((volume) => `Volume=${onHost(volume)}`),
    `# ${service.memoryWhy}`,
    `PodmanArgs=${flags.join(' ')}`,
    ...(health.why === undefined ? [] : [`# ${health.why}`]),
    `HealthCmd=${health.test.slice(1).map(word).join(' ')}`,
    `HealthInterval=${health.interval}`,
    `HealthTimeout=${health.timeout}`,
    ...(health.startPeriod === undefined ? [] : [`HealthStartPeriod=${health.startPeriod}`]),
    `HealthRetries=${health.retries}`,
    '',
    '[Service]',
    ...(charged === 'pool'
      ? ['# Its memory is part of what is lent: a standing charge of the pool.', 'Slice=spillway.slice']
      : ['# Charged to the system: outside of the memory that is lent.', 'Slice=system.slice']),
    'Restart=on-failure',
    // The image is fetched at the first start.
    'TimeoutStartSec=900',
    ...(service.stopSeconds === undefined ? [] : [`TimeoutStopSec=${service.stopSeconds + 10}`]),
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
  return `${lines.join('\n')}\n`;
}

/** A volume by its place on the host; named volumes keep their names. */
function onHost(volume: string): string {
  const [source = '', ...rest] = volume.replace(/\$\{\w+:-([^}]*)\}/, '$1').split(':');
  return [source.startsWith('/') ? source : `spillway-${source}`, ...rest].join(':');
}

/** A word as systemd reads a command line. */
const word = (text: string): string => (/[\s'"\\]/.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : text);
