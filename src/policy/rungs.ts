import type { Rung } from '../contracts/plan.ts';

/** What a hardware profile says of the rungs: absolute bytes, or shares of what can be lent. */
export interface RungSizes {
  readonly kind: 'bytes' | 'share';
  readonly S: number;
  readonly M: number;
  readonly L: number;
}

/**
 * 600 MB (decimal): the smallest container in which every DataFusion operator that was measured either fitted or
 * failed cleanly instead of being killed. Below it the additive overhead of the engine eats the pool.
 */
export const SMALLEST_RUNG_BYTES = 600 * 1_000_000;

/**
 * Sizes a heavy step may be lent on this host, smallest first: `S`, `M`, `L`, `whole`.
 *
 * Each is at least {@link SMALLEST_RUNG_BYTES} and at most `lendableBytes`; rungs that come out equal collapse into the
 * last of them, so that climbing always means more bytes. A host that can lend less than the smallest rung has the one
 * rung `whole` with what it has; the pool refuses what does not fit. Whole bytes.
 */
export function rungs(sizes: RungSizes, lendableBytes: number): Rung[] {
  const whole: Rung = { name: 'whole', bytes: Math.max(0, Math.floor(lendableBytes)) };
  const named = (['S', 'M', 'L'] as const).map((name): Rung => {
    const wanted = sizes.kind === 'bytes' ? sizes[name] : sizes[name] * lendableBytes;
    return { name, bytes: Math.min(Math.max(Math.floor(wanted), SMALLEST_RUNG_BYTES), whole.bytes) };
  });
  const ladder: Rung[] = [];
  for (const rung of [...named, whole]) {
    const last = ladder.at(-1);
    if (last && rung.bytes < last.bytes) continue; // a profile whose M is below its S never steps down
    if (last && rung.bytes === last.bytes) ladder.pop();
    ladder.push(rung);
  }
  return ladder;
}

/**
 * Least that is of use to a step at a rung, in bytes; undefined where it is that rung or nothing. `whole` is what can be lent when it is lent: more
 * than the rung that ran out before it.
 */
export function leastOf(rungs: readonly Rung[], index: number): number | undefined {
  const { name, bytes } = rungs[index]!;
  if (name !== 'whole') return undefined;
  return Math.min(bytes, Math.max(SMALLEST_RUNG_BYTES, (rungs[index - 1]?.bytes ?? 0) + 1));
}

/**
 * The part of a ladder that starts at a rung, by name (`S`, `M`, `L`, `whole`) or at the first rung of at least so many bytes.
 * A name that collapsed starts at the rung it collapsed into. Never empty unless `ladder` is: what asks for more than the top gets the top.
 */
export function ladderFrom(ladder: readonly Rung[], start: string | number): Rung[] {
  if (ladder.length === 0) return [];
  const order = ['S', 'M', 'L', 'whole'];
  const index =
    typeof start === 'number'
      ? ladder.findIndex((rung) => rung.bytes >= start)
      : ladder.findIndex((rung) => order.indexOf(rung.name) >= order.indexOf(start));
  return ladder.slice(index === -1 ? -1 : index);
}
