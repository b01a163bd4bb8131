/** Median, smallest and largest of some measurements. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/**
 * Value below which a share of the measurements lies, between two of them by their distance.
 * @throws RangeError when there are no measurements, or the share is not within 0 and 1
 */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError('a percentile needs at least one measurement');
  if (!(share >= 0 && share <= 1)) throw new RangeError(`a percentile's share lies within 0 and 1, got ${share}`);
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}

/** Middle of the measurements, with the outermost ones. @throws RangeError when there are none */
export const spreadOf = (values: readonly number[]): Spread => ({
  median: percentile(values, 0.5),
  min: Math.min(...values),
  max: Math.max(...values),
});
