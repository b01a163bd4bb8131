import type { PartName } from '../contracts/parts.ts';
import { PART_NAMES } from '../contracts/parts.ts';
import type { SomeParts } from '../config/parts-file.ts';
import { readParts } from '../config/parts-file.ts';
import { probeTcp } from '../host/tcp-probe.ts';
import { homePlaces } from './places.ts';

/** One part as it is now. */
export interface PartStatus {
  readonly part: PartName;
  readonly state: 'answers' | 'silent' | 'absent';
  /** For people: where it is, or what to do. */
  readonly text: string;
}

/** What `bringUp` wrote for a home, and whether each part takes connections now. */
export interface PartsStatus {
  readonly parts: SomeParts | undefined;
  readonly status: PartStatus[];
}

/** Reads the parts file of a home and connects to each part; never starts anything. Takes at most two seconds. */
export async function partsStatus(options: { readonly home: string }): Promise<PartsStatus> {
  const parts = readParts(homePlaces(options.home).home);
  const status = await Promise.all(PART_NAMES.map((name) => statusOf(name, parts)));
  return { parts, status };
}

async function statusOf(part: PartName, parts: SomeParts | undefined): Promise<PartStatus> {
  const absent = { part, state: 'absent', text: 'not there; run `spillway up`' } as const;
  if (part === 'image') {
    const image = parts?.image;
    return image ? { part, state: 'answers', text: `${image.name} in ${image.runtime} ${image.version}` } : absent;
  }
  const found = parts?.[part];
  if (!found) return absent;
  const address = 'address' in found ? found.address : new URL(found.url).host;
  const answers = await probeTcp(address, 2_000).then(
    () => true,
    () => false,
  );
  const text = `${address}, version ${found.version}, ${found.found}`;
  return answers
    ? { part, state: 'answers', text }
    : { part, state: 'silent', text: `${text}: nobody listens; run \`spillway up\`` };
}
