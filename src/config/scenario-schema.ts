import { z } from 'zod';
import { listProblems, SpillwayError } from '../contracts/errors.ts';
import { parseBytes, parseDurationMs } from '../policy/sizes.ts';
import type { Scenario, SimulatedRun, SimulatedStep } from '../policy/simulation/scenario.ts';

const SIZE = 'must be a size such as "6 GiB" or a whole number of bytes';
const DURATION = 'must be a duration such as "2 minutes" or a whole number of milliseconds';
const text = z.string('must be a text').min(1, 'must be a text');
const size = z.union([z.string(), z.number()], SIZE).refine((value) => parseBytes(value) !== undefined, SIZE);
const duration = z
  .union([z.string(), z.number()], DURATION)
  .refine((value) => value === 0 || parseDurationMs(value) !== undefined, DURATION);
const PRIORITY = 'must be a whole number from 1 (first) to 5 (last)';

const step = z.strictObject({
  step: text,
  after: z.array(text, 'must be a list of steps').optional(),
  weight: z.enum(['heavy', 'light'], 'must be heavy or light').optional(),
  memory: size,
  scratch: size.optional(),
  keep: size.optional(),
  keepScratch: size.optional(),
  priority: z.int(PRIORITY).min(1, PRIORITY).max(5, PRIORITY).optional(),
  takes: duration,
});
const run = z.strictObject({
  run: text,
  arrives: duration.optional(),
  times: z.int('must be a whole number >= 1').min(1, 'must be a whole number >= 1').optional(),
  every: duration.optional(),
  steps: z.array(step, 'must be a list of steps').min(1, 'must have at least one step'),
});
const SCENARIO = z.strictObject({
  pool: z.strictObject({ limit: size, standing: size.optional(), scratch: size.optional() }).optional(),
  runs: z.array(run, 'must be a list of runs').min(1, 'must have at least one run'),
});

type Given = z.infer<typeof SCENARIO>;

/**
 * Reads a scenario of `spillway simulate`. All problems are reported at once.
 * @param here the pool of this host, for a scenario that names none
 * @throws SpillwayError `InvalidInput`
 */
export function readScenario(given: unknown, here: Scenario['pool']): Scenario {
  const read = SCENARIO.safeParse(given);
  if (!read.success) refuse(read.error.issues.map((issue) => problemOf(issue, given)));
  const { pool, runs } = read.data;
  const bytes = (value: string | number | undefined): number => parseBytes(value ?? 0)!;
  const scenario: Scenario = {
    pool: pool
      ? {
          limitBytes: bytes(pool.limit),
          standingBytes: bytes(pool.standing),
          scratchLimitBytes: pool.scratch === undefined ? here.scratchLimitBytes : bytes(pool.scratch),
        }
      : here,
    runs: runs.flatMap(repeated),
  };
  const problems = [
    ...(scenario.pool.standingBytes >= scenario.pool.limitBytes
      ? [`pool.standing must be less than pool.limit, got ${pool?.standing} of ${pool?.limit}. Lower it.`]
      : []),
    ...runs.flatMap(problemsOfGraph),
    ...twice(scenario.runs.map((one) => one.run)).map((name) => `two runs are named '${name}'. Rename one.`),
  ];
  if (problems.length > 0) refuse(problems);
  return scenario;
}

function repeated({ run: name, arrives = 0, times = 1, every = 0, steps }: Given['runs'][number]): SimulatedRun[] {
  const ms = (value: string | number): number => (value === 0 ? 0 : parseDurationMs(value)!);
  return Array.from({ length: times }, (_, index) => ({
    run: times === 1 ? name : `${name}-${index + 1}`,
    arrivesMs: ms(arrives) + index * ms(every),
    steps: steps.map((one): SimulatedStep => ({
      step: one.step,
      after: one.after ?? [],
      weight: one.weight ?? 'heavy',
      bytes: parseBytes(one.memory)!,
      scratchBytes: parseBytes(one.scratch ?? 0)!,
      keepBytes: parseBytes(one.keep ?? 0)!,
      keepScratchBytes: parseBytes(one.keepScratch ?? 0)!,
      priority: one.priority ?? 3,
      ms: ms(one.takes),
    })),
  }));
}

function problemsOfGraph({ run: name, steps }: Given['runs'][number]): string[] {
  const names = steps.map((one) => one.step);
  const problems = twice(names).map((step) => `${name}: two steps are named '${step}'. Rename one.`);
  steps.forEach(({ step: own, after = [], memory, keep = 0, scratch = 0, keepScratch = 0 }, index) => {
    for (const before of after) {
      const at = names.indexOf(before);
      if (at < 0) problems.push(`${name}.${own}.after must name a step of its run, got ${before}. Known: ${names.join(', ')}.`);
      else if (at >= index) problems.push(`${name}.${own}.after must name a step that stands before it, got ${before}. Move it up.`); // prettier-ignore
    }
    if (parseBytes(keep)! > parseBytes(memory)!) problems.push(`${name}.${own}.keep must be at most its memory, got ${keep} of ${memory}. Lower it.`); // prettier-ignore
    if (parseBytes(keepScratch)! > parseBytes(scratch)!) problems.push(`${name}.${own}.keepScratch must be at most its scratch, got ${keepScratch} of ${scratch}. Lower it.`); // prettier-ignore
  });
  return problems;
}

const twice = (names: readonly string[]): string[] => [
  ...new Set(names.filter((name, index) => names.indexOf(name) !== index)),
];

function problemOf(issue: z.core.$ZodIssue, given: unknown): string {
  const key = issue.path.join('.') || 'the scenario';
  if (issue.code === 'unrecognized_keys') return `${key}: ${issue.keys.join(', ')} is not known. Remove it.`;
  const value = issue.path.reduce<unknown>(
    (of, part) => (of as Record<PropertyKey, unknown> | undefined)?.[part],
    given,
  );
  const got = value === undefined ? 'but is missing' : `got ${JSON.stringify(value).slice(0, 80)}`;
  return `${key} ${issue.code === 'invalid_type' && issue.message.startsWith('Invalid') ? 'must be an object' : issue.message}, ${got}. ${value === undefined ? 'Add it.' : 'Change it.'}`; // prettier-ignore
}

function refuse(problems: string[]): never {
  throw new SpillwayError('InvalidInput', `scenario: ${listProblems(problems)}`);
}
