import { z } from 'zod';
import { type HandoffThresholds, THRESHOLD_RANGES } from '../policy/handoff-mode.ts';
import { parseBytes, parseDurationMs } from '../policy/sizes.ts';
import { HARDWARE_PROFILES } from './profile-names.ts';
import type { SpillwayOptions } from './options.ts';

/** Divisor of `1/64`; undefined for anything else. */
export function parseScale(text: string): number | undefined {
  const divisor = /^1\/([1-9]\d{0,3})$/.exec(text.trim())?.[1];
  return divisor === undefined ? undefined : Number(divisor);
}

// Each leaf says its rule as "must be …": one line of a problem is made of the key, the rule, the value and its source.
const size = z.custom<string | number>(
  (value) => (typeof value === 'string' || typeof value === 'number') && (parseBytes(value) ?? 0) > 0,
  { error: 'must be a size such as 512GB or 600 MiB' },
);
const duration = z.custom<string | number>(
  (value) => (typeof value === 'string' || typeof value === 'number') && parseDurationMs(value) !== undefined,
  { error: 'must be a duration such as 30s or 2 minutes' },
);
const text = z.string({ error: 'must be a text' }).min(1, { error: 'must not be empty' });
const count = (low: number, high: number) =>
  z
    .number({ error: `must be a whole number from ${low} to ${high}` })
    .int()
    .min(low)
    .max(high);
const share = (of: keyof HandoffThresholds) => {
  const [low, high] = THRESHOLD_RANGES[of];
  return z
    .number({ error: `must be a number from ${low} to ${high}` })
    .min(low)
    .max(high);
};
const url = (protocols: readonly string[]) =>
  z.custom<string>(
    (value) => typeof value === 'string' && URL.canParse(value) && protocols.includes(new URL(value).protocol),
    { error: `must be an address that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}` },
  );
const withoutPassword = (address: z.ZodType<string>) =>
  address.refine((value) => !URL.canParse(value) || new URL(value).password === '', {
    error: 'must not hold a password; name it with password: { secret: … }',
  });
/** Paths are put behind it, and no request may carry an account in its address. */
const plainAddress = (address: z.ZodType<string>) =>
  withoutPassword(address).refine(
    (value) => !URL.canParse(value) || (new URL(value).username === '' && !/[?#]/.test(value)),
    {
      error: 'must be an address without an account, ? and #; a token is named with token: { secret: … }',
    },
  );
const secret = z.strictObject(
  { secret: z.string().regex(/^[A-Za-z][A-Za-z0-9_]*$/, { error: 'must be a name of letters, digits and _' }) },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? undefined : 'must be { secret: NAME }; a secret itself does not belong here',
  },
);
const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.enum(names, { error: `must be ${names.map((name) => `'${name}'`).join(' or ')}` });

const CHARGE_TO = ['system', 'pool'] as const;

const trino = z.strictObject({
  url: withoutPassword(url(['http:', 'https:'])),
  user: text.optional(),
  password: secret.optional(),
  residence: oneOf(['resident', 'external']).optional(),
  lakeCatalog: text.optional(),
});
const postgres = z.strictObject({
  url: withoutPassword(url(['postgres:', 'postgresql:'])),
  password: secret.optional(),
});

/** Everything that may be configured; unknown keys are problems. Units and defaults stand in {@link SpillwayOptions}. */
export const SCHEMA = z.strictObject({
  hardware: oneOf(HARDWARE_PROFILES).optional(),
  scale: z
    .custom<string>((value) => typeof value === 'string' && parseScale(value) !== undefined, {
      error: 'must be a fraction such as 1/64',
    })
    .optional(),
  home: text.optional(),
  scratch: text.optional(),
  pool: z
    .strictObject({
      name: z
        .string()
        .regex(/^[A-Za-z0-9_-]{1,64}$/, { error: 'must be 1 to 64 letters, digits, - or _' })
        .optional(),
      limit: size.optional(),
      scratchLimit: size.optional(),
      stepScratch: size.optional(),
      hostLock: text.optional(),
    })
    .optional(),
  handoff: z
    .strictObject({
      arrowAbove: share('arrowAbove').optional(),
      parquetAbove: share('parquetAbove').optional(),
      parquetAboveWhenContended: share('parquetAboveWhenContended').optional(),
    })
    .optional(),
  checkpoints: z.strictObject({ limit: size.optional(), ttl: duration.optional() }).optional(),
  temporal: z
    .strictObject({
      address: z
        .string()
        .regex(/^[^\s/:]+:\d{1,5}$|^\[[0-9a-f:]+\]:\d{1,5}$/i, { error: 'must be host:port' })
        .optional(),
      namespace: text.optional(),
      profile: text.optional(),
      configFile: text.optional(),
      ui: url(['http:', 'https:']).optional(),
      chargeTo: oneOf(CHARGE_TO).optional(),
    })
    .optional(),
  trino: z.record(z.string(), trino).optional(),
  postgres: z.record(z.string(), postgres).optional(),
  directories: z
    .record(
      z.string(),
      z.strictObject({
        path: text.optional(),
        url: plainAddress(url(['http:', 'https:'])).optional(),
        access: oneOf(['read', 'write']).optional(),
        maxConnections: count(1, 64).optional(),
        token: secret.optional(),
      }),
    )
    .optional(),
  runtime: z
    .strictObject({
      kind: oneOf(['podman', 'docker', 'process']).optional(),
      flags: z.array(z.string(), { error: 'must be a list of flags' }).optional(),
      image: text.optional(),
    })
    .optional(),
  workflows: text.optional(),
  bundle: text.optional(),
  transforms: text.optional(),
  light: z
    .strictObject({
      slots: count(1, 1000).optional(),
      stepBytes: size.optional(),
      batchRows: count(1, 10_000_000).optional(),
    })
    .optional(),
  worker: z.strictObject({ baseline: size.optional(), drain: duration.optional() }).optional(),
  engines: z
    .strictObject({
      trino: z
        .strictObject({
          container: size.optional(),
          heap: size.optional(),
          floor: size.optional(),
          maxMemoryPerNode: size.optional(),
          maxTotalMemory: size.optional(),
          heapHeadroom: size.optional(),
          spill: size.optional(),
        })
        .optional(),
      postgres: z
        .strictObject({
          sharedBuffers: size.optional(),
          workMem: size.optional(),
          maintenanceWorkMem: size.optional(),
          autovacuumWorkMem: size.optional(),
          maxWal: size.optional(),
          checkpointTimeoutMinutes: count(1, 1440).optional(),
          chargeTo: oneOf(CHARGE_TO).optional(),
        })
        .optional(),
      datafusion: z.strictObject({ partitions: count(1, 1024).optional(), spill: size.optional() }).optional(),
    })
    .optional(),
});

/** Holds the schema to the documented options: a key that is in one and not in the other does not compile. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
type Loose<T> = T extends object ? { [Key in keyof T]: Loose<Exclude<T[Key], undefined>> | undefined } : T;
export const SCHEMA_IS_DOCUMENTED: Same<Loose<z.infer<typeof SCHEMA>>, Loose<SpillwayOptions>> = true;
