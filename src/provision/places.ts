import { mkdirSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import type { PartName } from '../contracts/parts.ts';

/** Where everything of one home lies. Nothing but system packages is written elsewhere. */
export interface Places {
  readonly home: string;
  /** Downloads and builds, named by version; may be shared by several homes. */
  readonly cache: string;
  readonly data: string;
  readonly logs: string;
  readonly run: string;
  readonly etc: string;
  readonly secrets: string;
  readonly tmp: string;
}

/** Servers that run as processes of ours; the image is no process. */
export type ServerName = Exclude<PartName, 'image'>;

/** The folders of a home; relative paths stand against the working directory. */
export function homePlaces(home: string, cacheDir?: string): Places {
  const root = isAbsolute(home) ? home : resolve(home);
  return {
    home: root,
    cache: cacheDir === undefined ? join(root, 'cache') : resolve(cacheDir),
    data: join(root, 'data'),
    logs: join(root, 'logs'),
    run: join(root, 'run'),
    etc: join(root, 'etc'),
    secrets: join(root, 'secrets'),
    tmp: join(root, 'tmp'),
  };
}

/** Makes the folders; for its owner alone, as passwords and logs lie in them. */
export function makePlaces(places: Places): void {
  mkdirSync(places.home, { recursive: true, mode: 0o700 });
  for (const path of Object.values(places) as string[]) mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** `run/<part>.json`: what was about to be started when it was written. */
export const recordFile = (places: Pick<Places, 'run'>, part: ServerName): string => join(places.run, `${part}.json`);

/** `run/<part>.stat`: identity of the server, written by the process itself before it becomes the server. */
export const statFile = (places: Pick<Places, 'run'>, part: ServerName): string => join(places.run, `${part}.stat`);

/** `logs/<part>.log`: what the server printed. */
export const logFile = (places: Pick<Places, 'logs'>, part: ServerName): string => join(places.logs, `${part}.log`);
