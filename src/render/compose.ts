import type { ResolvedHardware } from '../config/resolved.ts';
import { formatBytes } from '../policy/sizes.ts';
import { services, type Service, type ServicePins } from './services.ts';
import { comment, containerSize } from './settings-text.ts';

/** What a compose file is made for. */
export interface ComposeOptions {
  /** Folder of Trino's files beside the compose file, for example `./trino`. */
  readonly trinoFiles: string;
  /** Folder with the sources of the runner's image; absent: the file has no service that builds it. */
  readonly buildContext?: string;
}

/**
 * `docker-compose.yml` with the servers of one hardware profile. All ports are published on loopback; heavy engines stand behind
 * the profile `heavy`, so that `up` alone starts the light parts. The same input gives the same text.
 */
export function renderCompose(hardware: ResolvedHardware, pins: ServicePins, options: ComposeOptions): string {
  const header = comment(
    `${title(hardware)}\n` +
      'Light parts: docker compose up --wait. With the engines: docker compose --profile heavy up --wait.\n' +
      `${SCRATCH_LINE} Rendered; a test holds it to the profile.`,
  );
  const blocks = services(hardware, pins, options.trinoFiles).map((service) =>
    serviceText(service, [
      `mem_limit: ${containerSize(service.memoryBytes)}`,
      `memswap_limit: ${containerSize(service.memoryBytes)}`,
    ]),
  );
  return file(header, blocks, options);
}

/**
 * `podman-compose.yml`: the same servers for podman-compose 1.6 or newer, which hands on `runtime`, `ulimits`, `cpuset` and `mem_limit` but drops
 * `memswap_limit`; that limit goes through `--podman-run-args`, a command for each service, written in the header.
 */
export function renderPodmanCompose(
  hardware: ResolvedHardware,
  pins: ServicePins,
  options: ComposeOptions & {
    /** Flags of `podman run` that this host needs, for example `--runtime`, `runc`, `--ulimit`, `nofile=20000:20000`. */
    readonly runFlags: readonly string[];
  },
): string {
  const all = services(hardware, pins, options.trinoFiles);
  const extra = keysOf(options.runFlags);
  const header = comment(
    `${title(hardware)}\n` +
      'For podman-compose 1.6 or newer, which drops memswap_limit: each service comes up by a command of its own, so that its limit has no swap beyond it.\n' +
      `${SCRATCH_LINE} Rendered; a test holds it to the profile.`,
  );
  const commands = upCommands(all)
    .map((command) => `#   ${command}\n`)
    .join('');
  const blocks = all.map((service) =>
    serviceText(service, [`mem_limit: ${containerSize(service.memoryBytes)}`, ...extra]),
  );
  return file(`${header}${commands}`, blocks, options);
}

/** The commands that bring the services of `podman-compose.yml` up, one for each. */
export const upCommands = (all: readonly Service[]): string[] =>
  all.map(
    ({ name, memoryBytes, heavy }) =>
      `podman-compose -f podman-compose.yml ${heavy ? '--profile heavy ' : ''}--podman-run-args=--memory-swap=${containerSize(memoryBytes)} up -d ${name}`,
  );

const title = (hardware: ResolvedHardware): string =>
  `The servers Spillway works with, sized for the hardware profile ${hardware.profile} with ${formatBytes(hardware.ramBytes)} of RAM and ${hardware.physicalCores} cores.`;
const SCRATCH_LINE = 'Set SPILLWAY_SCRATCH to the scratch root; Trino and the containers of steps share it.';

function file(header: string, blocks: readonly string[], { buildContext }: ComposeOptions): string {
  const build =
    buildContext === undefined
      ? ''
      : `
  # The runner of DataFusion steps: Spillway starts a container of it for each step; here it is only built:
  # docker compose build datafusion
  datafusion:
    profiles: [image]
    image: spillway-datafusion
    build:
      context: ${buildContext}
      dockerfile: containers/datafusion/Containerfile
    network_mode: none
    read_only: true
    entrypoint: ['/usr/bin/env', 'true']
`;
  return `${header}\nname: spillway\n\nservices:\n${blocks.join('\n')}${build}\nvolumes:\n  temporal:\n  postgres:\n`;
}

/** One service; `limits` are the lines whose keys differ between the tools. */
function serviceText(service: Service, limits: readonly string[]): string {
  const { name, image, command, environment, ports, volumes, health } = service;
  const lines = [
    ...(service.heavy ? ['profiles: [heavy]'] : []),
    `image: \${${image.variable}:-${image.registry}/${image.name}}`,
    ...(command ? ['command:', ...command.map(item)] : []),
    ...(environment
      ? [
          'environment:',
          ...environment.flatMap(({ name: variable, value, why }) => [
            ...(why === undefined ? [] : [`  # ${why}`]),
            `  ${variable}: ${value}`,
          ]),
        ]
      : []),
    'ports:',
    ...ports.map(({ variable, host, container }) => item(`127.0.0.1:\${${variable}:-${host}}:${container}`)),
    'volumes:',
    ...volumes.map((volume) => `  - ${volume}`),
    `# ${service.memoryWhy}`,
    ...limits,
    ...(service.cpuset === undefined ? [] : [`cpuset: '${service.cpuset}'`]),
    ...(service.shmBytes === undefined ? [] : [`shm_size: ${containerSize(service.shmBytes)}`]),
    ...(service.stopSeconds === undefined ? [] : [`stop_grace_period: ${service.stopSeconds}s`]),
    'healthcheck:',
    ...(health.why === undefined ? [] : [`  # ${health.why}`]),
    `  test: [${health.test.map((part) => `'${part}'`).join(', ')}]`,
    `  interval: ${health.interval}`,
    `  timeout: ${health.timeout}`,
    ...(health.startPeriod === undefined ? [] : [`  start_period: ${health.startPeriod}`]),
    `  retries: ${health.retries}`,
    'restart: unless-stopped',
  ];
  return `  ${name}:\n${lines.map((line) => `    ${line}\n`).join('')}`;
}

/** Compose keys for the flags that this host's containers need. @throws Error for a flag that podman-compose has no key for */
function keysOf(flags: readonly string[]): string[] {
  const lines: string[] = [];
  const ulimits: string[] = [];
  const words = flags.flatMap((flag) => (flag.startsWith('--') && flag.includes('=') ? splitFlag(flag) : [flag]));
  for (let at = 0; at < words.length; at += 2) {
    const [flag, value = ''] = [words[at], words[at + 1]];
    if (flag === '--runtime') lines.push(`runtime: ${value}`);
    else if (flag === '--ulimit') ulimits.push(value);
    else throw new Error(`podman-compose hands no key on as ${flag}. Remove it from runtime.flags`);
  }
  if (ulimits.length > 0) lines.push('ulimits:', ...ulimits.map(ulimitLines).flat());
  return lines;
}

const splitFlag = (flag: string): string[] => [flag.slice(0, flag.indexOf('=')), flag.slice(flag.indexOf('=') + 1)];

function ulimitLines(ulimit: string): string[] {
  const [name, range = ''] = ulimit.split('=');
  const [soft, hard = soft] = range.split(':');
  return [`  ${name}:`, `    soft: ${soft}`, `    hard: ${hard}`];
}

/** An item of a list, quoted so that YAML takes nothing in it for its own. */
const item = (text: string): string => `  - '${text.replaceAll("'", "''")}'`;
