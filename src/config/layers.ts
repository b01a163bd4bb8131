import type { z } from 'zod';
import { nearestName } from '../policy/nearest-name.ts';
import { environmentName, flagName, genericPath, isSetByText, KNOWN_KEYS, keysBelow, namesSecret } from './keys.ts';
import type { Origin } from './resolved.ts';
import { SCHEMA } from './schema.ts';

/** One set value, and who set it. */
export interface SetValue {
  readonly value: unknown;
  readonly origin: Origin;
  /** For people: the file's name, the variable, the flag. */
  readonly source: string;
}
/** Dotted key → value, of one layer or of several. */
export type Layer = ReadonlyMap<string, SetValue>;

/** A checked layer: what is right in it, and a line for everything that is not. */
export interface CheckedLayer {
  readonly values: Layer;
  readonly problems: readonly string[];
}

const MISSING = Symbol('missing');

/** Checks the object that a configuration file gave. */
export function fileLayer(content: unknown, source: string): CheckedLayer {
  return checkLayer(content, () => ({ origin: 'file', source }));
}

/** Reads `SPILLWAY_…`, and of `TEMPORAL_…` what names a server and a profile, as Temporal's own tools do. */
export function environmentLayer(env: Readonly<Record<string, string | undefined>>): CheckedLayer {
  const sources = new Map<string, string>();
  const set = new Map<string, string>();
  const names = new Map([
    ['TEMPORAL_ADDRESS', 'temporal.address'],
    ['TEMPORAL_NAMESPACE', 'temporal.namespace'],
    ['TEMPORAL_PROFILE', 'temporal.profile'],
    ['TEMPORAL_CONFIG_FILE', 'temporal.configFile'],
    ...KNOWN_KEYS.filter(({ key }) => isSetByText(key)).map(({ key }): [string, string] => [
      environmentName(key),
      key.replace('*', 'default'),
    ]),
  ]);
  for (const [name, key] of names) {
    const text = env[name];
    if (text === undefined || text === '') continue;
    set.set(key, text);
    sources.set(key, name);
  }
  // Other programs may use the prefix; only what looks like a slip of the pen is a problem.
  const slips = Object.keys(env).flatMap((name) => {
    if (!name.startsWith('SPILLWAY_') || names.has(name)) return [];
    const close = nearestName(name, [...names.keys()]);
    const near =
      close !== undefined && Math.abs(close.length - name.length) <= 2 && close.slice(0, 12) === name.slice(0, 12);
    return near ? [`${name} is not a variable of Spillway. Did you mean ${close}?`] : [];
  });
  const layer = checkLayer(nested(set), (key) => ({
    origin: 'environment',
    source: sources.get(key) ?? 'environment',
  }));
  return { values: layer.values, problems: [...slips, ...layer.problems] };
}

/** Reads flags, given as dotted key → text; absent ones are undefined. */
export function flagLayer(flags: Readonly<Record<string, string | undefined>>): CheckedLayer {
  const set = Object.entries(flags).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return checkLayer(nested(new Map(set)), (key) => ({ origin: 'flag', source: flagName(key) }));
}

/** Later layers win, value by value. */
export function mergeLayers(layers: readonly Layer[]): Layer {
  return new Map(layers.flatMap((layer) => [...layer]));
}

function nested(flat: ReadonlyMap<string, string>): unknown {
  const numeric = new Set(KNOWN_KEYS.filter((known) => known.numeric).map(({ key }) => key));
  const root: Record<string, unknown> = {};
  for (const [key, text] of flat) {
    const path = key.split('.');
    let at = root;
    for (const part of path.slice(0, -1)) at = (at[part] ??= {}) as Record<string, unknown>;
    at[path.at(-1) ?? key] = numeric.has(key) && /^\d+(\.\d+)?$/.test(text) ? Number(text) : text;
  }
  return root;
}

type SourceOf = (key: string) => Omit<SetValue, 'value'>;

function checkLayer(content: unknown, sourceOf: SourceOf): CheckedLayer {
  const checked = SCHEMA.safeParse(content ?? {});
  const problems = checked.success
    ? []
    : checked.error.issues.flatMap((issue) => problemLines(issue, content, sourceOf));
  const wrong = new Set(checked.success ? [] : checked.error.issues.map((issue) => issue.path.join('.')));
  const values = new Map<string, SetValue>();
  flatten(content, [], (path, value) => {
    const key = path.join('.');
    // What is wrong is said once, here; rules across keys are judged on what the other layers say.
    if (!wrong.has(key) && isKnown(path)) values.set(key, { value, ...sourceOf(key) });
  });
  return { values, problems };
}

function isKnown(path: readonly string[]): boolean {
  const key = genericPath(path).join('.');
  return KNOWN_KEYS.some((known) => known.key === key);
}

function flatten(
  value: unknown,
  path: readonly string[],
  found: (path: readonly string[], value: unknown) => void,
): void {
  if (value === undefined) return;
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !isKnown(path)) {
    for (const [name, inner] of Object.entries(value)) flatten(inner, [...path, name], found);
  } else found(path, value);
}

function problemLines(issue: z.core.$ZodIssue, content: unknown, sourceOf: SourceOf): string[] {
  const key = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((name) => {
      const full = [...issue.path.map(String), name].join('.');
      const { source } = sourceOf(full);
      const known = keysBelow(issue.path);
      const close = nearestName(name, known);
      const hint =
        close === undefined
          ? `Known here: ${known.join(', ')}`
          : `Did you mean ${[...issue.path.map(String), close].join('.')}?`;
      return `${full} is not a key of the configuration (${source}). ${hint}`;
    });
  }
  const { source } = sourceOf(key);
  const got = valueAt(content, issue.path);
  const isGroup =
    issue.code === 'invalid_type' && issue.expected === 'object' && !namesSecret(String(issue.path.at(-1)));
  const rule = isGroup ? 'must be a group of keys' : issue.message;
  if (key === '') return [`The configuration must be an object, got ${show(got)} (${source}).`];
  if (got === MISSING) return []; // another layer may set it; judged when all are there
  return [`${key} ${rule}, got ${show(got, key)} (${source}).`];
}

function valueAt(content: unknown, path: readonly PropertyKey[]): unknown {
  let at: unknown = content;
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !(part in at)) return MISSING;
    at = (at as Record<PropertyKey, unknown>)[part];
  }
  return at;
}

/** A value as people wrote it; never a secret. */
export function show(value: unknown, key = ''): string {
  if (key.split('.').some(namesSecret)) return 'a value that is not shown';
  if (typeof value === 'string') return key.endsWith('.url') ? value.replace(/:\/\/[^@/]*@/, '://…@') : value || "''";
  return JSON.stringify(value) ?? String(value);
}
