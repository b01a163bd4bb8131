import { execa } from 'execa';
import type { Stack } from './stack.ts';
import { trinoRows } from './stack-trino.ts';

/** When a heavy piece of work held its memory. */
export interface HeavyInterval {
  kind: 'container' | 'query';
  name: string;
  fromMs: number;
  toMs: number;
}

/** Heavy work of the stack's pool since an instant, as the container runtime and Trino recorded it; unsorted, ended only. */
export async function heavyIntervals(stack: Stack, sinceMs: number): Promise<HeavyInterval[]> {
  const [containers, queries] = await Promise.all([containersSince(stack, sinceMs), queriesSince(stack, sinceMs)]);
  return [...containers, ...queries];
}

/** Pairs that ran at the same time, in words; empty when none did. */
export function describeOverlap(intervals: readonly HeavyInterval[]): string[] {
  const sorted = [...intervals].sort((a, b) => a.fromMs - b.fromMs);
  return sorted.flatMap((later, index) =>
    sorted
      .slice(0, index)
      .filter((earlier) => earlier.toMs > later.fromMs)
      .map((earlier) => `${later.name} began ${earlier.toMs - later.fromMs} ms before ${earlier.name} ended`),
  );
}

/** A line of `events`, as podman and as docker write it. */
interface EventLine {
  Name?: string;
  Status?: string;
  Time?: string;
  Action?: string;
  Actor?: { Attributes: { name: string } };
  timeNano?: number;
}

async function containersSince(stack: Stack, sinceMs: number): Promise<HeavyInterval[]> {
  const { runtime } = stack.parts.image;
  // Both write what is past and end; each has its own way to say so.
  const format =
    runtime === 'podman'
      ? ['--stream=false', '--format', 'json']
      : ['--until', new Date().toISOString(), '--format', '{{json .}}'];
  const { stdout } = await execa(runtime, [
    ...['events', '--since', new Date(sinceMs).toISOString(), '--filter', 'type=container'],
    ...['--filter', `label=spillway.pool=${stack.pool}`, ...format],
  ]);
  const began = new Map<string, number>();
  const ended: HeavyInterval[] = [];
  for (const line of stdout.split('\n').filter(Boolean)) {
    const event = JSON.parse(line) as EventLine;
    const name = event.Name ?? event.Actor?.Attributes.name ?? '';
    const atMs = event.Time === undefined ? (event.timeNano ?? 0) / 1e6 : Date.parse(event.Time);
    const status = event.Status ?? event.Action;
    if (status === 'start') began.set(name, atMs);
    const fromMs = began.get(name);
    if (/^died?$/.test(status ?? '') && fromMs !== undefined)
      ended.push({ kind: 'container', name, fromMs, toMs: atMs });
  }
  return ended;
}

async function queriesSince(stack: Stack, sinceMs: number): Promise<HeavyInterval[]> {
  const rows = await trinoRows(
    stack.parts.trino.url,
    `select source, to_unixtime(started) * 1000, to_unixtime("end") * 1000 from system.runtime.queries
     where source like 'spillway/%/%' and "end" is not null and to_unixtime(created) * 1000 >= ${sinceMs}`,
  );
  return rows.map(([name, from, to]) => ({
    kind: 'query',
    name: String(name),
    fromMs: Number(from),
    toMs: Number(to),
  }));
}
