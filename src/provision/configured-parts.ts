import type { Origin, ResolvedConfig, ResolvedSecret } from '../config/resolved.ts';
import type { ConfiguredParts } from './bring-up.ts';

const NAMED: readonly Origin[] = ['file', 'environment', 'flag'];

/** The parts that somebody named in the configuration: `bringUp` looks at them and starts none in their place. */
export function configuredParts(config: ResolvedConfig, read: (secret: ResolvedSecret) => string): ConfiguredParts {
  const named = (key: string): boolean => {
    const origin = config.origins[key];
    return origin !== undefined && NAMED.includes(origin);
  };
  const trino = config.trino['default'];
  const postgres = config.postgres['default'];
  const { address, namespace, ui, access } = config.temporal;
  return {
    ...(named('temporal.address')
      ? { temporal: { address, namespace, ...(ui === undefined ? {} : { ui }), ...(access && { access }) } }
      : {}),
    ...(trino && named('trino.default.url') ? { trino: { url: trino.url, lakeRoot: trino.lakeRoot } } : {}),
    ...(postgres && named('postgres.default.url')
      ? { postgres: { url: postgres.url, ...(postgres.password ? { password: read(postgres.password) } : {}) } }
      : {}),
    ...(named('runtime.kind') ? { runtime: config.runtime.kind } : {}),
    ...(named('runtime.image')
      ? {
          image: {
            runtime: config.runtime.kind,
            version: '',
            flags: [...config.runtime.flags],
            name: config.runtime.image,
          },
        }
      : {}),
  };
}
