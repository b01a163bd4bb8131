import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpillwayError } from '../../contracts/errors.ts';
import { formatBytes } from '../../policy/sizes.ts';

/** Files of a web server that a step reads. */
export interface DownloadsWanted {
  /** Address below which they are. */
  url: string;
  /** Their paths below it. */
  paths: readonly string[];
  /** Sent as a bearer token, to that server only: not where it redirects to. */
  token?: string;
  /** Files at a time, each over one connection. */
  maxConnections: number;
  /** Directory that gets them, as `file-00000<ending>` and on, in the order of the paths. */
  into: string;
  ending: string;
  /** Bytes that all of them may take. */
  mostBytes: number;
  signal?: AbortSignal;
  onProgress?: (progress: { files: number; bytes: number }) => void;
  /** How long a server may send nothing, and how long is waited before the second try, doubled for each one after. @defaultValue 30 s, 0.5 s */
  limits?: { silenceMs?: number; firstWaitMs?: number };
}

/** A file that was downloaded. */
export interface Downloaded {
  url: string;
  path: string;
  bytes: number;
  /** What the server says of its version: its ETag, else its date; absent when it says neither. */
  version?: string;
}

const SILENCE_MS = 30_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** Tries in a row that bring nothing. */
const MOST_TRIES = 5;
/** Answers that another try may better. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);

/**
 * Downloads files, a few at a time, each whole and as one version of it: a broken download goes on where it broke when the server still has the version
 * it began with (`Range` with `If-Range`), else it begins anew. A file is on disk, synced, when this returns.
 *
 * @throws SpillwayError `InvalidInput` when there is no such file or it may not be read, `ScratchFull` when they are larger than `mostBytes`, `EngineUnreachable`
 * when five tries in a row brought nothing
 */
export async function downloadFiles(wanted: DownloadsWanted): Promise<Downloaded[]> {
  const stop = new AbortController();
  const signal = wanted.signal ? AbortSignal.any([wanted.signal, stop.signal]) : stop.signal;
  const done: Downloaded[] = [];
  const seen = { files: 0, bytes: 0 };
  const budget: Budget = {
    take(bytes) {
      seen.bytes += bytes;
      if (seen.bytes > wanted.mostBytes) throw tooLarge(wanted, seen.bytes);
      if (bytes > 0) wanted.onProgress?.({ ...seen });
    },
    /** Of a file that says how large it is, before its first byte. */
    expect(bytes) {
      if (seen.bytes + bytes > wanted.mostBytes) throw tooLarge(wanted, seen.bytes + bytes);
    },
  };
  const queue = wanted.paths.entries();
  const work = async (): Promise<void> => {
    for (const [at, path] of queue) {
      signal.throwIfAborted();
      const to = join(wanted.into, `file-${String(at).padStart(5, '0')}${wanted.ending}`);
      done[at] = await downloadFile(addressOf(wanted.url, path), to, { ...wanted, signal, budget });
      seen.files += 1;
    }
  };
  const workers = Array.from({ length: Math.min(wanted.maxConnections, wanted.paths.length) }, () =>
    work().catch((error: unknown) => {
      stop.abort(error); // the others need not go on
      throw error;
    }),
  );
  // All of them have ended, and closed their files, before anybody removes these.
  const ended = await Promise.allSettled(workers);
  wanted.signal?.throwIfAborted();
  if (ended.some(({ status }) => status === 'rejected')) throw stop.signal.reason;
  return done;
}

/** Address of a file below another address; signs of a path that mean something in an address are escaped. */
const addressOf = (url: string, path: string): string =>
  `${url.replace(/\/+$/, '')}/${path.split('/').map(encodeURIComponent).join('/')}`;

interface Budget {
  take(bytes: number): void;
  expect(bytes: number): void;
}

type FileOrder = Pick<DownloadsWanted, 'token' | 'limits'> & { signal: AbortSignal; budget: Budget };

/** A download that broke off: what is there, and of which version. */
interface Begun {
  bytes: number;
  version?: string;
}

async function downloadFile(url: string, path: string, order: FileOrder): Promise<Downloaded> {
  const file = await open(path, 'w');
  try {
    await file.chmod(0o644); // containers read it as another user, whatever our umask
    let begun: Begun = { bytes: 0 };
    const firstWaitMs = order.limits?.firstWaitMs ?? FIRST_WAIT_MS;
    for (let failures = 0; ;) {
      const before = begun.bytes;
      const tried = await tryOnce(url, file, begun, order);
      begun = tried.begun;
      if (tried.kind === 'whole') {
        await file.sync();
        return { url, path, bytes: begun.bytes, ...(begun.version !== undefined && { version: begun.version }) };
      }
      failures = begun.bytes > before ? 1 : failures + 1;
      if (failures >= MOST_TRIES) throw new SpillwayError('EngineUnreachable', `Look after ${hostOf(url)}: ${url} could not be downloaded in ${MOST_TRIES} tries in a row, ${tried.because}.`); // prettier-ignore
      const waitMs = Math.min(LONGEST_WAIT_MS, tried.waitMs ?? firstWaitMs * 2 ** (failures - 1));
      await sleep(waitMs, undefined, { signal: order.signal }).catch(() => order.signal.throwIfAborted());
    }
  } finally {
    await file.close();
  }
}

type Tried = { begun: Begun } & ({ kind: 'whole' } | { kind: 'broken'; because: string; waitMs?: number });

/** One request: the rest of what was begun, where the server still has it, else the whole file. */
async function tryOnce(url: string, file: FileHandle, begun: Begun, order: FileOrder): Promise<Tried> {
  const { signal, budget, token } = order;
  const silence = new AbortController();
  const silenceMs = order.limits?.silenceMs ?? SILENCE_MS;
  const timer = setTimeout(() => silence.abort(), silenceMs);
  let now: Begun = begun;
  try {
    const resumes = begun.bytes > 0 && begun.version !== undefined;
    const answer = await fetch(url, {
      headers: {
        'accept-encoding': 'identity', // the bytes as they lie there
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(resumes && { range: `bytes=${begun.bytes}-`, 'if-range': begun.version! }),
      },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    timer.refresh();
    const goesOn = resumes && answer.status === 206 && startOf(answer) === begun.bytes;
    if (!goesOn && answer.status !== 200) {
      await answer.body?.cancel();
      if (answer.status === 206 || answer.status === 416) return restarted(file, begun, budget, 'its ranges are wrong');
      if (PASSING.has(answer.status)) return { kind: 'broken', begun, ...refusal(answer) };
      throw refused(url, answer.status);
    }
    const encoding = answer.headers.get('content-encoding');
    if (encoding !== null && encoding !== 'identity') {
      await answer.body?.cancel();
      throw new SpillwayError('InvalidInput', `Have ${hostOf(url)} send ${url} as it is: it encodes it as ${encoding}, though it is asked not to.`); // prettier-ignore
    }
    if (!goesOn) {
      await restarted(file, begun, budget, '');
      const version = versionOf(answer);
      now = { bytes: 0, ...(version !== undefined && { version }) };
    }
    const rest = lengthOf(answer);
    if (rest === undefined && answer.headers.get('transfer-encoding') !== 'chunked') {
      await answer.body?.cancel();
      throw new SpillwayError('InvalidInput', `Have ${hostOf(url)} say how long ${url} is: it sends neither a length nor chunks, and a part could be taken for the whole.`); // prettier-ignore
    }
    if (rest !== undefined) budget.expect(rest);
    const whole = rest === undefined ? undefined : now.bytes + rest;
    for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      timer.refresh();
      budget.take(chunk.length);
      await writeAll(file, chunk, now.bytes);
      now = { ...now, bytes: now.bytes + chunk.length };
    }
    if (whole === undefined || now.bytes === whole) return { kind: 'whole', begun: now };
    return { kind: 'broken', begun: now, because: `it ended after ${now.bytes} of ${whole} bytes` };
  } catch (error) {
    signal.throwIfAborted();
    // What may not be, and what our own disk says, no other try betters.
    if (error instanceof SpillwayError || isOfDisk(error)) throw error;
    const because = silence.signal.aborted ? `nothing came for ${silenceMs / 1000} s` : whyNoAnswer(error);
    return { kind: 'broken', begun: now, because };
  } finally {
    clearTimeout(timer);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** Forgets what was begun. */
async function restarted(file: FileHandle, begun: Begun, budget: Budget, because: string): Promise<Tried> {
  await file.truncate(0);
  budget.take(-begun.bytes);
  return { kind: 'broken', begun: { bytes: 0 }, because };
}

/** First byte of a part, by `Content-Range: bytes 5-9/10`. */
const startOf = ({ headers }: Response): number | undefined => {
  const start = /^bytes (\d+)-/.exec(headers.get('content-range') ?? '')?.[1];
  return start === undefined ? undefined : Number(start);
};

const lengthOf = ({ headers }: Response): number | undefined => {
  const length = headers.get('content-length');
  return length !== null && /^\d+$/.test(length) ? Number(length) : undefined;
};

/** A date tells versions apart once the file was left alone for so long: within its second it may have been written twice (RFC 9110, 8.8.2.2). */
const DATE_SETTLES_MS = 60_000;

/** What tells one version of a file from another, as `If-Range` takes it: a weak ETag says too little, and so does a date of just now. */
function versionOf({ headers }: Response): string | undefined {
  const etag = headers.get('etag');
  if (etag !== null && !etag.startsWith('W/')) return etag;
  const modified = headers.get('last-modified');
  const ageMs = Date.parse(headers.get('date') ?? '') - Date.parse(modified ?? '');
  return modified !== null && ageMs >= DATE_SETTLES_MS ? modified : undefined;
}

function refusal({ status, headers }: Response): { because: string; waitMs?: number } {
  const seconds = /^\d+$/.exec(headers.get('retry-after') ?? '')?.[0];
  return { because: `it answers ${status}`, ...(seconds !== undefined && { waitMs: Number(seconds) * 1000 }) };
}

function refused(url: string, status: number): SpillwayError {
  const mend =
    status === 401 || status === 403
      ? 'Give its directory a token that may read it'
      : status === 404 || status === 410
        ? 'Change path'
        : `Look after ${hostOf(url)}`;
  return new SpillwayError('InvalidInput', `${mend}: ${url} answers ${status}.`);
}

const tooLarge = ({ url, paths, mostBytes }: DownloadsWanted, bytes: number): SpillwayError =>
  new SpillwayError('ScratchFull', `Give the step more scratch than ${formatBytes(mostBytes)}: ${paths.length} files of ${url} take ${formatBytes(bytes)} or more.`); // prettier-ignore

const hostOf = (url: string): string => new URL(url).host;

const isOfDisk = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Why there was no answer: `fetch failed` says nothing, its cause does. */
export function whyNoAnswer(error: unknown): string {
  const { message, cause } = error as { message: string; cause?: { message?: string; code?: string } };
  return cause?.message || (cause?.code ?? message);
}
