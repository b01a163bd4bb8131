import { type Spread, spreadOf } from './statistics.ts';

/** The most that ours, or ours divided by theirs, may be. */
export interface Goal {
  readonly of: 'ours' | 'ratio';
  readonly atMost: number;
}

/** One comparison. Numbers are medians over the rounds. */
export interface Figure {
  readonly name: string;
  readonly ours: number;
  readonly oursRange: readonly [min: number, max: number];
  readonly unit: string;
  /** What it is compared with, measured in the same rounds; null where there is nothing to compare with. */
  readonly against: string | null;
  readonly theirs: number | null;
  readonly theirsRange: readonly [min: number, max: number] | null;
  /** Ours divided by theirs, of the medians. */
  readonly ratio: number | null;
  readonly goal: string | null;
  /** Whether the goal is met; null where there is none. */
  readonly holds: boolean | null;
}

/** What one figure is made from: one number per round for each side. */
export interface Measured {
  readonly name: string;
  readonly unit: string;
  readonly ours: readonly number[];
  readonly against?: string;
  readonly theirs?: readonly number[];
  readonly goal?: Goal;
}

/** Makes a figure of measurements. @throws RangeError for a goal of a ratio without another side */
export function figureOf({ name, unit, ours, against, theirs, goal }: Measured): Figure {
  const own = spreadOf(ours);
  const other = theirs && spreadOf(theirs);
  const ratio = other && other.median > 0 ? own.median / other.median : undefined;
  const judged = goal?.of === 'ratio' ? ratio : own.median;
  if (goal && judged === undefined)
    throw new RangeError(`${name}: its goal is a ratio, and there is nothing to compare with`);
  return {
    name,
    ours: rounded(own.median),
    oursRange: range(own),
    unit,
    against: against ?? null,
    theirs: other ? rounded(other.median) : null,
    theirsRange: other ? range(other) : null,
    ratio: ratio === undefined ? null : rounded(ratio),
    goal: goal ? goalText(goal, unit) : null,
    // As measured, not as rounded for readers.
    holds: goal ? judged! <= goal.atMost : null,
  };
}

const goalText = ({ of, atMost }: Goal, unit: string): string =>
  of === 'ratio' ? `<= ${atMost} x theirs` : `<= ${atMost} ${unit}`;

const range = ({ min, max }: Spread): [number, number] => [rounded(min), rounded(max)];

/** Four digits say more than any of these measurements knows. */
const rounded = (value: number): number => Number(value.toPrecision(4));

/** The figures as lines for a terminal. */
export function figureTable(figures: readonly Figure[]): string {
  const header = ['figure', 'ours', 'range', 'unit', 'theirs', 'range', 'ratio', 'goal', 'holds', 'against'];
  const span = (of: readonly [number, number] | null): string => (of ? `${of[0]}..${of[1]}` : '');
  const rows = figures.map((figure) => [
    figure.name,
    String(figure.ours),
    span(figure.oursRange),
    figure.unit,
    figure.theirs === null ? '' : String(figure.theirs),
    span(figure.theirsRange),
    figure.ratio === null ? '' : String(figure.ratio),
    figure.goal ?? '',
    figure.holds === null ? '' : figure.holds ? 'yes' : 'NO',
    figure.against ?? '',
  ]);
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
