import { chmod, copyFile, link, mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { CheckpointChoice, HandoffRef } from '../contracts/handoff.ts';
import { formatBytes } from '../policy/sizes.ts';
import { attemptName, safeName, type Attempt } from './attempt.ts';
import { bytesUnder } from './bytes-under.ts';
import { whyLost } from './handoff-ref.ts';
import { openSweep, type SweepReport } from './janitor.ts';
import type { ScratchLedger } from './scratch-ledger.ts';
import { syncToDisk } from './sync-to-disk.ts';
import { removeWithin } from './within-root.ts';
import { ignoreMissing } from './ignore-missing.ts';

/**
 * Layout under the scratch root:
 *   checkpoints/<whose>.<step>.<fingerprint>/    files of one checkpoint and its manifest; there as a whole, or not at all
 *   checkpoints/.<run>.<step>-<token>/           one that an attempt is making
 *   checkpoints/.gone-…                          one that is being removed
 * A checkpoint's files are links to those of the attempt that wrote them: the run has its own, and whoever finds them gets its own too. So a
 * checkpoint may go at any time, and nobody who reads the rows is without them.
 */
const FOLDER = 'checkpoints';
const MANIFEST = 'manifest.json';
/** What was left half-made or half-removed is somebody's who died, after this long. */
const ORPHAN_AGE_MS = 3_600_000;

/** A checkpoint as the catalogue lists it. Times are epoch ms. */
export interface CheckpointEntry {
  id: string;
  /** The run and step that wrote it. */
  run: string;
  step: string;
  reuse: CheckpointChoice['reuse'];
  keep: boolean;
  rows: number;
  bytes: number;
  madeAtMs: number;
  usedAtMs: number;
  /** It goes then, unless it is used before. */
  expiresAtMs: number;
}

interface Manifest extends Omit<CheckpointEntry, 'usedAtMs' | 'expiresAtMs'> {
  version: 1;
  /** Its parts' addresses are names of files beside the manifest. */
  ref: HandoffRef;
}

export interface CheckpointLimits {
  /** Of all checkpoints; those not used for longest go first. */
  limitBytes: number;
  /** One that was not used for that long goes. */
  ttlMs: number;
}

/** The catalogue of one scratch root. Every method may be called twice, and by two processes at once. */
export interface Checkpoints {
  /** Keeps rows that an attempt wrote; answers why they could not be kept. */
  keep(attempt: Attempt, ref: HandoffRef, choice: CheckpointChoice): Promise<string | undefined>;
  /** Rows that were kept, linked into the directory of this attempt, which is written down as any other; undefined when there are none. */
  find(attempt: Attempt, choice: CheckpointChoice): Promise<HandoffRef | undefined>;
  /** Removes those that only this run could find, but for those that are to be kept. */
  dropRun(run: string): Promise<void>;
  /** Removes what was not used for long, what is over the limit, as much as it takes while the disk is full, and what was left half-made. */
  sweep(options?: { dryRun?: boolean }): Promise<SweepReport>;
  /** All of them, the last used first. */
  list(): Promise<CheckpointEntry[]>;
  /** Says whether there was one. */
  remove(id: string): Promise<boolean>;
}

let removals = 0;

/** Opens the catalogue; it is made with the first checkpoint. */
export function openCheckpoints(scratch: ScratchLedger, { limitBytes, ttlMs }: CheckpointLimits): Checkpoints {
  const folder = join(scratch.root, FOLDER);

  const listed = async (): Promise<(Manifest & { usedAtMs: number })[]> => {
    const names = (await namesIn(folder)).filter((name) => !name.startsWith('.'));
    const found = await Promise.all(names.map((name) => readManifest(join(folder, name))));
    return found.filter((one) => one !== undefined).sort((a, b) => b.usedAtMs - a.usedAtMs);
  };

  /** Out of sight first: nobody finds half of one. */
  const remove = async (id: string): Promise<boolean> => {
    removals += 1;
    const gone = join(folder, `.gone-${process.pid}-${removals}-${id}`);
    try {
      await rename(join(folder, id), gone);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
    await removeWithin(scratch.root, gone);
    return true;
  };

  /** Which have to go, and why: the last used stay. */
  const superfluous = async (
    all: Awaited<ReturnType<typeof listed>>,
  ): Promise<{ id: string; bytes: number; because: string }[]> => {
    const going: { id: string; bytes: number; because: string }[] = [];
    let bytes = 0;
    const short = Math.max(0, -(await scratch.freeBytes()));
    let freed = 0;
    const staying: { id: string; bytes: number }[] = [];
    for (const one of all) {
      if (one.usedAtMs + ttlMs <= Date.now())
        going.push({ ...one, because: `not used for ${Math.round(ttlMs / 3_600_000)} hours` });
      else if (bytes + one.bytes > limitBytes)
        going.push({ ...one, because: `checkpoints.limit is ${formatBytes(limitBytes)}` });
      else {
        bytes += one.bytes;
        staying.push(one);
      }
    }
    // What somebody still reads keeps its bytes on disk until then: more may go than would be needed.
    while (freed < short && staying.length > 0) {
      const one = staying.pop()!;
      freed += one.bytes;
      going.push({ ...one, because: 'the disk is full' });
    }
    return going;
  };

  return {
    async keep(attempt, ref, choice) {
      if (ref.bytes > limitBytes)
        return `${formatBytes(ref.bytes)} is more than checkpoints.limit, ${formatBytes(limitBytes)}`;
      const id = idOf(attempt, choice);
      if (await readManifest(join(folder, id))) return undefined; // the same rows
      const making = join(folder, `.${safeName(attempt.run)}.${attemptName(attempt)}`);
      await mkdir(folder, { recursive: true });
      await removeWithin(scratch.root, making);
      try {
        await mkdir(making);
        const parts = await linkParts(ref, making);
        const { run, step } = attempt;
        const { reuse, keep } = choice;
        const manifest: Manifest = {
          ...{ version: 1, id, run, step, reuse, keep, rows: ref.rows, bytes: ref.bytes, madeAtMs: Date.now() },
          ref: { ...ref, parts: parts.map((part) => ({ ...part, uri: basename(part.uri) })) },
        };
        await writeFile(join(making, MANIFEST), JSON.stringify(manifest));
        for (const name of await namesIn(making)) await syncToDisk(join(making, name));
        await syncToDisk(making);
        await rename(making, join(folder, id)).catch(ignoreThere);
        await syncToDisk(folder);
      } finally {
        await removeWithin(scratch.root, making);
      }
      for (const one of await superfluous(await listed())) await remove(one.id);
      return undefined;
    },

    async find(attempt, choice) {
      const from = join(folder, idOf(attempt, choice));
      const manifest = await readManifest(from);
      if (!manifest || manifest.usedAtMs + ttlMs <= Date.now()) return undefined;
      const there = { ...manifest.ref, parts: manifest.ref.parts.map((part) => ({ ...part, uri: pathToFileURL(join(from, basename(part.uri))).href })) }; // prettier-ignore
      if ((await whyLost(there)) !== undefined) {
        await remove(manifest.id);
        return undefined;
      }
      const { directory } = await scratch.reserveAttempt(attempt);
      let found = false;
      try {
        const out = join(directory, 'out');
        await mkdir(out, { recursive: true });
        await chmod(out, 0o755); // containers read it as another user
        const parts = await linkParts(there, out);
        await scratch.sealAttempt(attempt);
        const now = new Date();
        await utimes(join(from, MANIFEST), now, now).catch(ignoreMissing);
        found = true;
        const made = new Date(manifest.madeAtMs).toISOString().replace(/\.\d+Z$/, 'Z');
        const whose = manifest.run === attempt.run ? 'this run' : `run ${manifest.run}`;
        return { ...there, parts, because: `found as a checkpoint that ${whose} made at ${made}` };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // it went meanwhile
        throw error;
      } finally {
        if (!found) await scratch.dropAttempt(attempt);
      }
    },

    async dropRun(run) {
      const prefix = `${safeName(run)}.`;
      for (const { id, keep } of await listed()) if (id.startsWith(prefix) && !keep) await remove(id);
    },

    async sweep({ dryRun = false } = {}) {
      const { report, act } = openSweep(dryRun);
      const whole = await listed();
      for (const { id, bytes, because } of await superfluous(whole))
        await act({ path: join(folder, id), bytes, because }, () => remove(id));
      for (const name of await namesIn(folder)) {
        const path = join(folder, name);
        if (whole.some(({ id }) => id === name)) continue;
        const found = await stat(path).catch(ignoreMissing);
        if (!found || found.ctimeMs > Date.now() - ORPHAN_AGE_MS) continue;
        const bytes = await bytesUnder(path);
        await act({ path, bytes, because: 'no whole checkpoint' }, () => removeWithin(scratch.root, path));
      }
      return report;
    },

    async list() {
      return (await listed()).map(({ version: _version, ref: _ref, ...one }) => ({
        ...one,
        expiresAtMs: one.usedAtMs + ttlMs,
      }));
    },

    async remove(id) {
      return /^[a-z0-9_][a-z0-9_.-]*$/.test(id) && (await remove(id));
    },
  };
}

/** Those of all runs have nobody's name: no run is called `any`. */
const idOf = ({ run, step }: Attempt, { reuse, fingerprint }: CheckpointChoice): string =>
  `${reuse === 'run' ? safeName(run) : 'any'}.${safeName(step)}.${fingerprint.slice(0, 16)}`;

async function readManifest(directory: string): Promise<(Manifest & { usedAtMs: number }) | undefined> {
  const path = join(directory, MANIFEST);
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    const manifest = JSON.parse(text) as Manifest;
    return manifest.version === 1 && manifest.id === basename(directory)
      ? { ...manifest, usedAtMs: mtimeMs }
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // not one of ours; sweeping removes it
    return ignoreMissing(error as NodeJS.ErrnoException);
  }
}

/** The same files under names in another directory. */
async function linkParts(ref: HandoffRef, into: string): Promise<HandoffRef['parts']> {
  return Promise.all(
    ref.parts.map(async ({ kind, uri, rows, bytes }, place) => {
      const from = fileURLToPath(uri);
      const to = join(into, `part-${String(place).padStart(5, '0')}${extname(from) || `.${kind}`}`);
      await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
        // Of another disk, or of another user whose files may not be linked.
        if (error.code !== 'EXDEV' && error.code !== 'EPERM') throw error;
        await copyFile(from, to);
      });
      return { kind, uri: pathToFileURL(to).href, rows, bytes };
    }),
  );
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(ignoreMissing)) ?? [];
}

/** Somebody kept the same rows meanwhile. */
function ignoreThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
}
