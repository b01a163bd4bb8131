import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Where the author's own code stands in a stack, as `transforms.ts:12`: its first frame outside of packages and of `ours`. Undefined where there is none, as
 * for what a package throws before it is called.
 *
 * @param ours folder whose frames say nothing to the author
 */
export function authorFrame(stack: string | undefined, ours: string): string | undefined {
  for (const line of (stack ?? '').split('\n')) {
    const [, at, number] = /^\s+at (?:.*\()?((?:file:\/\/)?\/[^()]*?):(\d+):\d+\)?$/.exec(line) ?? [];
    if (at === undefined || at.includes('/node_modules/')) continue;
    const path = at.startsWith('file:') ? fileURLToPath(at) : at;
    if (!path.startsWith(`${ours}/`)) return `${basename(path)}:${number}`;
  }
  return undefined;
}
