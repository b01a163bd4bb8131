import type { z } from 'zod';
import { listProblems, SpillwayError } from '../contracts/errors.ts';
import type { FilesStep, PostgresLoadStep, PostgresSqlStep, StepSpec } from '../contracts/pipeline.ts';
import type { PlanRequest } from '../contracts/plan.ts';
import { formatOfFiles, isSink, sourcesOf } from '../policy/graph.ts';
import type { ReadPipeline } from '../policy/plan.ts';
import { nearestName } from '../policy/nearest-name.ts';
import { INNER_KEYS, JOB_SCHEMA, STEP_SCHEMAS } from './step-schemas.ts';

const VERBS = Object.keys(STEP_SCHEMAS);
const JOB_KEYS = Object.keys(JOB_SCHEMA.shape);

const GIVES_NO_ROWS: Partial<Record<StepSpec['verb'], string>> = {
  'postgres.load': 'loads a table',
  'postgres.sql': 'runs a statement',
  'write.parquet': 'writes files',
  'write.arrow': 'writes files',
};

const show = (value: unknown): string => {
  const json = JSON.stringify(value) ?? typeof value;
  return json.length > 80 ? `${json.slice(0, 77)}…` : json;
};
const got = (value: unknown): string => (value === undefined ? 'but is missing' : `got ${show(value)}`);

/**
 * Checks what a user gave, whichever door it came by, and reads it as steps. All problems are reported at once.
 * @throws SpillwayError `InvalidInput`
 */
export function readPipeline(request: PlanRequest): ReadPipeline {
  const problems: string[] = [];
  const given =
    request.kind === 'job' ? readJob(request.job, problems) : { name: request.pipeline, steps: request.steps };
  const steps: StepSpec[] = [];
  given.steps.forEach((step, i) => {
    const read = readStep(step, i, problems);
    if (read) steps.push(read);
  });
  checkGraph(steps, given.steps.map(nameOf), problems);
  const sinks =
    request.kind === 'steps' ? request.sinks : given.steps.filter((step) => isSink(textAt(step, 'verb'))).map(nameOf);
  if (sinks.length === 0 && given.steps.length > 0) {
    problems.push('no step makes anything happen. Add a sink, for example a postgres.load step.');
  }
  if (problems.length > 0) {
    throw new SpillwayError('InvalidInput', `${given.name}: ${listProblems(problems)}`);
  }
  return { name: given.name, steps, sinks, ...(request.kind === 'steps' ? { decided: request.decided } : {}) };
}

/** A text that a step, not checked yet, has under a key. */
function textAt(step: unknown, key: string): string | undefined {
  const value: unknown = typeof step === 'object' && step !== null ? (step as Record<string, unknown>)[key] : undefined;
  return typeof value === 'string' ? value : undefined;
}

/** How messages call a step: by its name, or by its place where it has none. */
const nameOf = (step: unknown, place: number): string => textAt(step, 'step') ?? `steps[${place}]`;

function readJob(job: unknown, problems: string[]): { name: string; steps: unknown[] } {
  if (typeof job !== 'object' || job === null || Array.isArray(job)) {
    throw new SpillwayError(
      'InvalidInput',
      `eltPipeline needs a pipeline { "name": …, "steps": [ … ] } as its input, ${got(job)}. Pass one with --input-file job.json.`,
    );
  }
  for (const key of Object.keys(job)) if (!JOB_KEYS.includes(key)) problems.push(unknownKey(key, JOB_KEYS));
  const { name, steps } = job as { name?: unknown; steps?: unknown };
  if (typeof name !== 'string' || name === '') problems.push(`name must be a text, ${got(name)}. Name the pipeline.`);
  if (!Array.isArray(steps) || steps.length === 0)
    problems.push(`steps must be a list of at least one step, ${got(steps)}. Add a step.`);
  return { name: typeof name === 'string' ? name : 'pipeline', steps: Array.isArray(steps) ? steps : [] };
}

const unknownKey = (key: string, known: readonly string[]): string => {
  const near = nearestName(key, known);
  return `${key} is not known. ${near ? `Did you mean ${near}?` : 'Remove it.'} Known: ${known.join(', ')}.`;
};

function readStep(step: unknown, place: number, problems: string[]): StepSpec | undefined {
  const at = nameOf(step, place);
  if (typeof step !== 'object' || step === null || Array.isArray(step)) {
    problems.push(`${at} must be a step { "step": …, "verb": … }, ${got(step)}. Remove it, or write a step.`);
    return undefined;
  }
  const verb: unknown = 'verb' in step ? step.verb : undefined;
  if (typeof verb !== 'string' || !Object.hasOwn(STEP_SCHEMAS, verb)) {
    const near = typeof verb === 'string' ? nearestName(verb, VERBS) : undefined;
    problems.push(
      `${at}.verb must be one of ${VERBS.join(', ')}, ${got(verb)}. ${near ? `Did you mean ${near}?` : 'Choose one.'}`,
    );
    return undefined;
  }
  const schema = STEP_SCHEMAS[verb as keyof typeof STEP_SCHEMAS];
  const read = schema.safeParse(step);
  if (read.success) return read.data as StepSpec;
  for (const issue of read.error.issues) problems.push(...problemsOf(issue, step, at, schema));
  return undefined;
}

type Issue = z.core.$ZodIssue;

/** What is wrong: key, rule, value and fix. */
function problemsOf(issue: Issue, step: object, at: string, schema: z.ZodObject): string[] {
  const key = [at, ...issue.path].join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = INNER_KEYS[String(issue.path[0])] ?? Object.keys(schema.shape);
    return issue.keys.map((unknown) => `${key}.${unknownKey(unknown, known)}`);
  }
  const value = issue.path.reduce<unknown>(
    (of, part) => (of as Record<PropertyKey, unknown> | undefined)?.[part],
    step,
  );
  const rule = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  return [`${key} ${rule}, ${got(value)}. ${fixOf(issue, value, schema)}`];
}

function fixOf(issue: Issue, value: unknown, schema: z.ZodObject): string {
  if (value === undefined) return 'Add it.';
  const near =
    issue.code === 'invalid_value' && typeof value === 'string'
      ? nearestName(value, issue.values.map(String))
      : undefined;
  if (near !== undefined) return `Did you mean ${near}?`;
  const optional =
    (schema.shape[String(issue.path[0])] as z.ZodType | undefined)?.safeParse(undefined).success === true;
  return optional && issue.path.length === 1 ? 'Change it, or remove the key for the default.' : 'Change it.';
}

/** Rules across steps. `names` are those of all steps that were given, also of those that broke a rule of their own. */
function checkGraph(steps: StepSpec[], names: string[], problems: string[]): void {
  const byName = new Map(steps.map((step) => [step.step, step]));
  for (const twice of new Set(names.filter((given, i) => names.indexOf(given) !== i))) {
    problems.push(`two steps are named '${twice}'. Names are unique within a run; rename one.`);
  }
  for (const step of steps) {
    if (step.profile !== undefined && step.memory !== undefined) {
      problems.push(
        `${step.step} has both profile ${step.profile} and memory ${step.memory}. Keep one: a rung, or a size.`,
      );
    }
    if ('checkpoint' in step && typeof step.checkpoint === 'object') {
      // The type knows it, a job that comes as data may not.
      const { reuse, version } = step.checkpoint as { reuse?: string; version?: string };
      if (reuse === 'any-run' && version === undefined)
        problems.push(`${step.step}.checkpoint needs a version with reuse any-run: nobody else knows when what it reads has changed. Add version, for example the day.`); // prettier-ignore
    }
    if (step.verb === 'files') problems.push(...problemsOfFiles(step));
    if (step.verb === 'write.parquet' || step.verb === 'write.arrow')
      problems.push(...problemsOfPath(step.step, step.path));
    if (step.verb === 'postgres.load') problems.push(...problemsOfLoad(step));
    if (step.verb === 'postgres.sql') problems.push(...problemsOfStatement(step));
    if (step.verb === 'postgres.sql') problems.push(...problemsOfAfter(step, byName));
    for (const source of sourcesOf(step)) {
      if ('after' in step) continue; // it reads nothing
      const read = byName.get(source);
      if (!names.includes(source)) {
        const near = nearestName(
          source,
          names.filter((given) => given !== step.step),
        );
        problems.push(
          `${step.step} reads '${source}', which is no step of this pipeline. ${near ? `Did you mean '${near}'?` : 'Add that step, or read another.'}`,
        );
      } else if (read && isSink(read.verb)) {
        problems.push(
          `${step.step} reads '${source}', which ${GIVES_NO_ROWS[read.verb] ?? ''} and gives no rows. ${'from' in read ? `Read what '${source}' reads: '${(read as PostgresLoadStep).from}'.` : 'Read another step.'}`,
        );
      } else if (read?.verb === 'files' && formatOfFiles(read) === 'csv' && step.verb !== 'datafusion.sql') {
        problems.push(`${step.step} reads '${source}', which are CSV files, and only datafusion.sql reads those. Put a datafusion.sql step between them.`); // prettier-ignore
      }
    }
  }
  checkCycles(byName, problems);
}

function problemsOfAfter({ step, after = [] }: PostgresSqlStep, byName: ReadonlyMap<string, StepSpec>): string[] {
  return after.flatMap((name) => {
    const before = byName.get(name);
    if (before && isSink(before.verb)) return [];
    const near = nearestName(name, [...byName.values()].filter(({ verb }) => isSink(verb)).map((one) => one.step)); // prettier-ignore
    const what = before ? 'gives rows, which are there when somebody reads them' : 'is no step of this pipeline';
    return [`${step}.after must name sinks, and '${name}' ${what}. ${near ? `Did you mean '${near}'?` : 'Remove it.'}`];
  });
}

function problemsOfFiles(files: FilesStep): string[] {
  const { step, path, csv } = files;
  const problems = [path].flat().flatMap((one) => problemsOfPath(step, one));
  const format = formatOfFiles(files);
  if (format === undefined) problems.push(`${step}.path must end with .parquet, .arrow or .csv, all alike, where no format is given, got ${show(path)}. Add format.`); // prettier-ignore
  if (csv !== undefined && format !== undefined && format !== 'csv') problems.push(`${step}.csv says how CSV is read, and these files are ${format}. Remove it.`); // prettier-ignore
  return problems;
}

/** A step names what lies in a directory, and nothing beside it. */
function problemsOfPath(step: string, path: string): string[] {
  const leaves = path.startsWith('/') || path.split('/').some((part) => part === '..' || part === '.' || part === '');
  return leaves ? [`${step}.path must be a path below its directory, without . and .., got ${show(path)}. Change it.`] : []; // prettier-ignore
}

/** What says how a table is made belongs to a statement that makes one. */
function problemsOfStatement({ step, into, key, indexes, params }: PostgresSqlStep): string[] {
  if (into !== undefined)
    return params === undefined ? [] : [`${step}.params are not for a statement that makes a table, which PostgreSQL takes none for, got ${show(params)}. Write the values into sql.`]; // prettier-ignore
  return Object.entries({ key, indexes })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${step}.${name} is of the table that into names, and there is no into, got ${show(value)}. Add into, or remove it.`); // prettier-ignore
}

/** What belongs together in a load. */
function problemsOfLoad(load: PostgresLoadStep): string[] {
  const { step, write = 'replace', key, strategy = 'auto', indexOrder, connections, evolve = [], partition } = load;
  const problems: string[] = [];
  if (write === 'replace') {
    if (partition !== undefined && (key !== undefined || load.indexes !== undefined || evolve.length > 0))
      problems.push(`${step}.partition takes columns, keys and indexes from its table, got ${['key', 'indexes', 'evolve'].filter((name) => name in load).join(', ')} beside it. Remove that, and make it in ${load.into}.`); // prettier-ignore
    if (evolve.includes('add'))
      problems.push(`${step}.evolve add is for tables that rows are added to, and write is replace, which makes every column of the rows. Remove it.`); // prettier-ignore
    if (strategy === 'freeze' && connections !== undefined && connections > 1)
      problems.push(`${step}.connections must be 1 with strategy freeze, which is one transaction of one connection, got ${connections}. Use strategy parallel, or remove connections.`); // prettier-ignore
    return problems;
  }
  const onlyReplace = (name: string, value: unknown): string =>
    `${step}.${name} says how a table is replaced, and write is ${write}, got ${String(value)}. Remove it.`;
  if (write === 'merge' && key === undefined)
    problems.push(`${step}.write merge needs a key to tell rows by. Add key: the columns of a unique index of the table.`); // prettier-ignore
  if (strategy !== 'auto') problems.push(onlyReplace('strategy', strategy));
  if (indexOrder !== undefined) problems.push(onlyReplace('indexOrder', indexOrder));
  if (connections !== undefined) problems.push(onlyReplace('connections', connections));
  if (partition !== undefined) problems.push(onlyReplace('partition', show(partition)));
  return problems;
}

/** Names each circle once, wherever it is entered. */
function checkCycles(byName: ReadonlyMap<string, StepSpec>, problems: string[]): void {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (name: string): void => {
    const step = byName.get(name);
    if (!step || done.has(name)) return;
    const entered = path.indexOf(name);
    if (entered >= 0) {
      problems.push(
        `steps read each other in a circle: ${[...path.slice(entered), name].join(' → ')}. Have one of them read another step.`,
      );
      return;
    }
    path.push(name);
    sourcesOf(step).forEach(visit);
    path.pop();
    done.add(name);
  };
  [...byName.keys()].forEach(visit);
}
