import { readFile } from 'node:fs/promises';
import { SpillwayError } from '../../contracts/errors.ts';
import { askJvm, NoJvm } from '../../host/jvm-attach.ts';
import { KiB, MiB } from '../../policy/sizes.ts';

/** What asking a JVM for its heap gave. */
export interface Shrunk {
  /** RssAnon before and after, in bytes. */
  beforeBytes: number;
  afterBytes: number;
  /** Whether the JVM was asked. */
  asked: boolean;
  because: string;
}

const SETTLE_MS = 3000;
const LOOK_AGAIN_MS = 200;

/**
 * Makes a JVM on this host give unused heap back, by its diagnostic command `GC.run`, and then what the C library keeps of memory that was freed beside
 * the heap (`System.trim_native_heap`; 27 of 1,047 MiB of a Trino that had run some hundred queries). Only with no query running. The heap gives something
 * back only when started with G1 and a low `MaxHeapFreeRatio`; with G1's defaults nothing comes back.
 * Where the process is no JVM that we may look at, nothing is asked and `because` says so.
 * Raises EngineUnreachable when there is no such process, EngineFailed when it does not answer.
 */
export async function shrinkHeap({ pid }: { pid: number }): Promise<Shrunk> {
  const beforeBytes = await rssAnon(pid);
  try {
    await askJvm(pid, 'GC.run');
    await askJvm(pid, 'System.trim_native_heap').catch(() => undefined); // only where the C library is glibc
  } catch (error) {
    if (error instanceof NoJvm) return { beforeBytes, afterBytes: beforeBytes, asked: false, because: error.message };
    throw new SpillwayError('EngineFailed', `Look into the log of process ${pid}: ${(error as Error).message}`, { cause: error }); // prettier-ignore
  }
  return { beforeBytes, afterBytes: await settled(pid), asked: true, because: 'GC.run' };
}

/** What a round has to bring for another one. */
const WORTH_ANOTHER_BYTES = MiB;
const MOST_ROUNDS = 4;

/**
 * {@link shrinkHeap} until the process is down to a floor or gives nothing more: what one collection found dead the next one gives back.
 * Answers RssAnon then, in bytes.
 */
export async function shrinkHeapTo(floorBytes: number, of: Parameters<typeof shrinkHeap>[0]): Promise<number> {
  for (let round = 1; ; round += 1) {
    const { beforeBytes, afterBytes, asked } = await shrinkHeap(of);
    const isEnough = afterBytes <= floorBytes || beforeBytes - afterBytes < WORTH_ANOTHER_BYTES;
    if (!asked || isEnough || round === MOST_ROUNDS) return afterBytes;
  }
}

/** Anonymous resident memory of a process, in bytes: what is really taken, without mapped files. Raises EngineUnreachable when it is gone. */
export async function rssAnon(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kib = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1];
  // A zombie still has a status, without memory lines.
  if (kib === undefined)
    throw new SpillwayError('EngineUnreachable', `Start Trino again: process ${pid} is not running.`);
  return Number(kib) * KiB;
}

/** The collector uncommits for a moment after GC.run has returned: looks until two readings agree. */
async function settled(pid: number): Promise<number> {
  const deadline = Date.now() + SETTLE_MS;
  let last = await rssAnon(pid);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    const now = await rssAnon(pid);
    if (now >= last || Date.now() > deadline) return now;
    last = now;
  }
}
