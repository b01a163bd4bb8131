import { z } from 'zod';
import { SCHEMA } from './schema.ts';

/** A leaf of the schema. Connections stand with `*` for their name. */
export interface KnownKey {
  /** Dotted, for example `pool.limit` or `trino.*.url`. */
  readonly key: string;
  /** Whether a text from the environment or a flag is read as a number. */
  readonly numeric: boolean;
}

/** Last parts of keys whose value is the name of a secret. */
const SECRETS = ['password', 'token'];

/** Whether a key, or the last part of one, names a secret: what stands there by mistake may be one, and is not shown. */
export const namesSecret = (key: string): boolean => SECRETS.includes(key.split('.').at(-1) ?? '');

/** Every key that may be set, in the order of the schema. */
export const KNOWN_KEYS: readonly KnownKey[] = leaves(SCHEMA, []);

/**
 * Whether a variable or a flag sets a key. A secret by its name comes from the file alone: there people would put the secret itself. So do flags of a
 * runtime, which are a list.
 */
export const isSetByText = (key: string): boolean => !namesSecret(key) && key !== 'runtime.flags';

/** Keys that stand directly below a path of the configuration (with names of connections as they are). */
export function keysBelow(path: readonly PropertyKey[]): string[] {
  const generic = genericPath(path.map(String));
  const prefix = generic.length === 0 ? '' : `${generic.join('.')}.`;
  const names = KNOWN_KEYS.filter(({ key }) => key.startsWith(prefix)).map(
    ({ key }) => key.slice(prefix.length).split('.')[0] ?? '',
  );
  return [...new Set(names)];
}

/** Variable of the environment that sets a key: `pool.scratchLimit` is `SPILLWAY_POOL_SCRATCH_LIMIT`; connections are `default`. */
export function environmentName(key: string): string {
  const words = key
    .replace(/\.(\*|default)(?=\.)/, '')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_');
  return `SPILLWAY_${words.toUpperCase()}`;
}

/** Flag of the command line that sets a key: `pool.scratchLimit` is `--pool-scratch-limit`. */
export function flagName(key: string): string {
  const words = key
    .replace('.default', '')
    .replace(/([a-z])([A-Z])/g, '$1-$2')
    .replaceAll('.', '-');
  return `--${words.toLowerCase()}`;
}

function leaves(schema: z.ZodType, path: readonly string[]): KnownKey[] {
  if (schema instanceof z.ZodOptional) return leaves(schema.unwrap() as z.ZodType, path);
  if (schema instanceof z.ZodRecord) return leaves(schema.valueType as z.ZodType, [...path, '*']);
  // A secret is one value: { secret: NAME }.
  if (schema instanceof z.ZodObject && !namesSecret(path.at(-1) ?? '')) {
    return Object.entries(schema.shape).flatMap(([name, value]) => leaves(value as z.ZodType, [...path, name]));
  }
  return [{ key: path.join('.'), numeric: schema instanceof z.ZodNumber }];
}

/** Groups whose second part is a name that people give. */
const NAMED_GROUPS = ['trino', 'postgres', 'directories'];

/** Puts `*` for the names of connections. */
export function genericPath(path: readonly string[]): string[] {
  return path.map((part, index) => (index === 1 && NAMED_GROUPS.includes(path[0]!) ? '*' : part));
}
