import type { ResolvedHardware } from '../config/resolved.ts';
import { formatBytes, MiB } from '../policy/sizes.ts';
import { comment } from './settings-text.ts';

/** What the units cannot know from the hardware. */
export interface SystemdPlace {
  /** Time the worker's running steps get to end, in milliseconds; the unit waits half a minute longer. */
  readonly drainMs: number;
  /** Memory of the worker process with its light slots, bytes. */
  readonly workerBytes: number;
}

/** Seconds beyond the drain until systemd kills: the worker stops containers and gives its leases back in them. */
const STOP_GRACE_SECONDS = 30;

/** `spillway.slice` and `spillway-worker.service`, for `/etc/systemd/system`. The same input gives the same text. */
export function renderSystemd(hardware: ResolvedHardware, place: SystemdPlace): Record<string, string> {
  return { 'spillway.slice': slice(hardware), 'spillway-worker.service': workerUnit(hardware, place) };
}

function slice(hardware: ResolvedHardware): string {
  return (
    comment('The memory that is lent: worker, engines and containers of steps together. Rendered.') +
    `[Unit]
Description=Spillway: memory lent to steps
Before=slices.target

[Slice]
MemoryAccounting=yes
${comment(`The pool: ${formatBytes(hardware.poolBytes)} of ${formatBytes(hardware.ramBytes)}; the kernel holds it whatever the ledger says.`)}MemoryMax=${Math.floor(hardware.poolBytes / MiB)}M
${comment('Without swap: a step that outgrows its lease ends with a verdict instead of slowing everything down.')}MemorySwapMax=0
`
  );
}

function workerUnit(hardware: ResolvedHardware, { drainMs, workerBytes }: SystemdPlace): string {
  const drainSeconds = Math.ceil(drainMs / 1000);
  return (
    comment(
      'The Spillway worker of this host. Rendered. Put your project into /srv/spillway (or change WorkingDirectory in a drop-in), and its secrets into /etc/spillway/worker.env (mode 600).',
    ) +
    `[Unit]
Description=Spillway worker
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
WorkingDirectory=/srv/spillway
EnvironmentFile=-/etc/spillway/worker.env
ExecStart=/usr/bin/env node node_modules/spillway/bin/spillway.js worker
Restart=on-failure
RestartSec=5
${comment(`Inside the pool: the worker's own ${formatBytes(workerBytes)} are a standing charge of it.`)}Slice=spillway.slice
${comment('The worker makes groups for the steps below its own.')}Delegate=yes
${comment('A step that runs out of memory is judged by the worker; systemd must not stop the worker for it.')}OOMPolicy=continue
${comment('Steps die before the one that judges them.')}OOMScoreAdjust=-500
${comment('SIGTERM reaches the worker alone, which stops its children in order; what is left is killed at the end.')}KillMode=mixed
${comment(`The drain of ${drainSeconds} s, and time to stop containers and give leases back.`)}TimeoutStopSec=${drainSeconds + STOP_GRACE_SECONDS}
LimitNOFILE=20000

[Install]
WantedBy=multi-user.target
`
  );
}
