import { formatBytes } from '../sizes.ts';
import type { Scenario } from './scenario.ts';
import type { Simulated } from './simulate.ts';

const WIDTH = 960;
const HEIGHT = 320;
const LEFT = 80;
const TOP = 24;
const BOTTOM = 48;

/** An SVG of the bytes lent over time, below the line of what can be lent. */
export function drawing({ pool }: Scenario, { lent, makespanMs, peakLentBytes }: Simulated): string {
  const lendable = pool.limitBytes - pool.standingBytes;
  const most = Math.max(lendable, peakLentBytes) * 1.05;
  const x = (ms: number): number => round(LEFT + (Math.max(0, ms) / Math.max(1, makespanMs)) * (WIDTH - LEFT - 16));
  const y = (bytes: number): number => round(TOP + (1 - bytes / most) * (HEIGHT - TOP - BOTTOM));
  const floor = y(0);
  const steps = lent.map(({ atMs, lentBytes }, index) => {
    const until = lent[index + 1]?.atMs ?? makespanMs;
    return `H${x(atMs)}V${y(lentBytes)}H${x(until)}`;
  });
  const ceiling = y(lendable);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * makespanMs);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<path d="M${x(0)} ${floor}${steps.join('')}V${floor}Z" fill="#4c78a8"/>`,
    `<line x1="${LEFT}" y1="${ceiling}" x2="${WIDTH - 16}" y2="${ceiling}" stroke="#c0392b" stroke-dasharray="6 4"/>`,
    `<text x="${LEFT - 6}" y="${ceiling + 4}" text-anchor="end">${formatBytes(lendable)}</text>`,
    `<text x="${LEFT - 6}" y="${floor + 4}" text-anchor="end">0</text>`,
    ...ticks.map((ms) => `<text x="${x(ms)}" y="${floor + 18}" text-anchor="middle">${seconds(ms)}</text>`),
    `<text x="${LEFT}" y="${HEIGHT - 8}">bytes lent over time; dashed: what can be lent</text>`,
    '</svg>',
    '',
  ].join('\n');
}

const round = (value: number): number => Math.round(value * 10) / 10;
const seconds = (ms: number): string => (ms < 120_000 ? `${round(ms / 1000)} s` : `${round(ms / 60_000)} min`);
