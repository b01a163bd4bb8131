import { z } from 'zod';
import { SpillwayError } from '../contracts/errors.ts';
import type { PipelineSpec, StepSpec } from '../contracts/pipeline.ts';
import type { PlanRequest } from '../contracts/plan.ts';
import { sourcesOf } from '../policy/graph.ts';
import { nearestName } from '../policy/nearest-name.ts';
import { parseBytes, parseDurationMs } from '../policy/sizes.ts';

const STEP_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;

const stepName = z.string().regex(STEP_NAME, 'must start with a letter and have at most 63 letters, digits, _ or -');
const size = z
  .union([z.string(), z.number()])
  .refine((value) => parseBytes(value) !== undefined, 'must be a size such as "6 GiB" or a whole number of bytes');
const duration = z
  .union([z.string(), z.number()])
  .refine(
    (value) => parseDurationMs(value) !== undefined,
    'must be a duration such as "2 hours" or a number of milliseconds',
  );

const options = {
  step: stepName,
  weight: z.enum(['heavy', 'light']).optional(),
  profile: z.enum(['S', 'M', 'L', 'whole']).optional(),
  memory: size.optional(),
  scratch: size.optional(),
  startToClose: duration.optional(),
  retry: z
    .strictObject({ maximumAttempts: z.number().int().min(1).optional(), initialInterval: duration.optional() })
    .optional(),
  priority: z.number().int().min(1).max(5).optional(),
};

const statement = z.string().trim().min(1, 'must be a statement');

const trinoQuery = z.strictObject({
  ...options,
  verb: z.literal('trino.query'),
  sql: statement,
  params: z.array(z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
  connection: z.string().optional(),
});

const datafusionSql = z.strictObject({
  ...options,
  verb: z.literal('datafusion.sql'),
  from: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a plain table name'), z.string())
    .refine((from) => Object.keys(from).length > 0, 'must name at least one dataset'),
  sql: statement,
});

const postgresLoad = z.strictObject({
  ...options,
  verb: z.literal('postgres.load'),
  from: z.string(),
  into: z.string().regex(/^[^.]+\.[^.]+$/, 'must be schema.table'),
  key: z.array(z.string()).min(1).optional(),
  write: z.enum(['replace']).optional(),
  strategy: z.enum(['auto', 'freeze', 'unlogged']).optional(),
  indexes: z.array(z.strictObject({ columns: z.array(z.string()).min(1), unique: z.boolean().optional() })).optional(),
  indexOrder: z.enum(['before-logged', 'after-logged']).optional(),
  connection: z.string().optional(),
});

const STEP_SCHEMAS = {
  'trino.query': trinoQuery,
  'datafusion.sql': datafusionSql,
  'postgres.load': postgresLoad,
} as const;
const VERBS = Object.keys(STEP_SCHEMAS);
const JOB_KEYS = ['$schema', 'name', 'steps'];

const show = (value: unknown): string => {
  const text = value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
};

/**
 * Checks what a user gave, whichever door it came by, and reads it as steps. All problems are reported at once.
 * @throws SpillwayError `InvalidInput`
 */
export function readPipeline(request: PlanRequest): PipelineSpec & { sinks: string[] } {
  const problems: string[] = [];
  const given =
    request.kind === 'job' ? readJob(request.job, problems) : { name: request.pipeline, steps: request.steps };
  const steps: StepSpec[] = [];
  given.steps.forEach((step, i) => {
    const read = readStep(step, i, problems);
    if (read) steps.push(read);
  });
  if (problems.length === 0) checkGraph(steps, problems);
  if (problems.length > 0) {
    throw new SpillwayError(
      'InvalidInput',
      `${given.name}: ${problems.length === 1 ? problems[0]! : `${problems.length} problems:\n- ${problems.join('\n- ')}`}`,
    );
  }
  const sinks =
    request.kind === 'steps'
      ? request.sinks
      : steps.filter((step) => step.verb === 'postgres.load').map((step) => step.step);
  if (sinks.length === 0) {
    throw new SpillwayError(
      'InvalidInput',
      `${given.name}: no step makes anything happen. Add a sink, for example a postgres.load step.`,
    );
  }
  return { name: given.name, steps, sinks };
}

function readJob(job: unknown, problems: string[]): { name: string; steps: unknown[] } {
  if (typeof job !== 'object' || job === null || Array.isArray(job)) {
    throw new SpillwayError(
      'InvalidInput',
      `eltPipeline needs a pipeline { "name": …, "steps": [ … ] } as its input, got ${show(job)}. Pass one with --input-file job.json.`,
    );
  }
  for (const key of Object.keys(job)) if (!JOB_KEYS.includes(key)) problems.push(unknownKey(key, JOB_KEYS));
  const { name, steps } = job as { name?: unknown; steps?: unknown };
  if (typeof name !== 'string' || name === '')
    problems.push(`name must be a text, got ${show(name)}. Name the pipeline.`);
  if (!Array.isArray(steps) || steps.length === 0)
    problems.push(`steps must be a list of at least one step, got ${show(steps)}.`);
  return { name: typeof name === 'string' ? name : 'pipeline', steps: Array.isArray(steps) ? steps : [] };
}

const unknownKey = (key: string, known: string[]): string => {
  const near = nearestName(key, known);
  return `${key} is not known${near ? `; did you mean ${near}?` : ''} Known: ${known.join(', ')}.`;
};

function readStep(step: unknown, index: number, problems: string[]): StepSpec | undefined {
  const at =
    typeof step === 'object' && step !== null && 'step' in step && typeof step.step === 'string'
      ? step.step
      : `steps[${index}]`;
  const verb: unknown = typeof step === 'object' && step !== null && 'verb' in step ? step.verb : undefined;
  if (typeof verb !== 'string' || !Object.hasOwn(STEP_SCHEMAS, verb)) {
    const near = typeof verb === 'string' ? nearestName(verb, VERBS) : undefined;
    problems.push(
      `${at}.verb must be one of ${VERBS.join(', ')}, got ${show(verb)}.${near ? ` Did you mean ${near}?` : ''}`,
    );
    return undefined;
  }
  const schema = STEP_SCHEMAS[verb as keyof typeof STEP_SCHEMAS];
  const read = schema.safeParse(step);
  if (read.success) return read.data as StepSpec;
  for (const issue of read.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) problems.push(`${at}: ${unknownKey(key, Object.keys(schema.shape))}`);
      continue;
    }
    const path = issue.path.join('.');
    const value = issue.path.reduce<unknown>(
      (of, key) => (of as Record<PropertyKey, unknown> | undefined)?.[key],
      step,
    );
    problems.push(
      `${at}.${path} ${issue.message.replace(/^Invalid (input|option): /, 'is not valid: ')}, got ${show(value)}.`,
    );
  }
  return undefined;
}

function checkGraph(steps: StepSpec[], problems: string[]): void {
  const names = steps.map((step) => step.step);
  const seen = new Set<string>();
  const byName = new Map(steps.map((step) => [step.step, step]));
  for (const step of steps) {
    if (seen.has(step.step))
      problems.push(`two steps are named '${step.step}'. Names are unique within a run; rename one.`);
    seen.add(step.step);
    if (step.profile !== undefined && step.memory !== undefined) {
      problems.push(`${step.step} has both profile and memory. Keep one: a rung, or a size.`);
    }
    for (const source of sourcesOf(step)) {
      const from = byName.get(source);
      if (!from) {
        const near = nearestName(source, names);
        problems.push(
          `${step.step} reads '${source}', which is no step of this pipeline.${near ? ` Did you mean '${near}'?` : ''}`,
        );
      } else if (from.verb === 'postgres.load') {
        problems.push(
          `${step.step} reads '${source}', which loads a table and gives no rows. Read what '${source}' reads: '${from.from}'.`,
        );
      }
    }
  }
  if (problems.length === 0) checkCycles(steps, problems);
}

function checkCycles(steps: StepSpec[], problems: string[]): void {
  const byName = new Map(steps.map((step) => [step.step, step]));
  const done = new Set<string>();
  const visit = (name: string, path: string[]): void => {
    if (done.has(name)) return;
    if (path.includes(name)) {
      problems.push(`steps read each other in a circle: ${[...path.slice(path.indexOf(name)), name].join(' → ')}.`);
      return;
    }
    for (const source of sourcesOf(byName.get(name)!)) visit(source, [...path, name]);
    done.add(name);
  };
  for (const { step } of steps) {
    if (problems.length === 0) visit(step, []);
  }
}
