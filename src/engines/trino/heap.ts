import { execa } from 'execa';
import { access, constants, readFile, readlink, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SpillwayError } from '../../contracts/errors.ts';
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
const JCMD_MS = 30_000;

/**
 * Makes a JVM on this host give unused heap back, by `jcmd <pid> GC.run`. Only with no query running. It gives something
 * back only when started with G1 and a low `MaxHeapFreeRatio`; with G1's defaults nothing comes back.
 * Where the process is no java, or no `jcmd` stands beside its java, nothing is asked and `because` says so.
 * Raises EngineUnreachable when there is no such process, EngineFailed when jcmd fails.
 */
export async function shrinkHeap({ pid, jcmd }: { pid: number; jcmd?: string }): Promise<Shrunk> {
  const beforeBytes = await rssAnon(pid);
  // jcmd begins with a SIGQUIT, which a JVM answers and which ends any other process.
  const java = await readlink(`/proc/${pid}/exe`).catch(() => '');
  if (basename(java) !== 'java') return notAsked(beforeBytes, `process ${pid} is not a java that we may look at`);
  const command = jcmd ?? (await jcmdBeside(java));
  if (command === undefined) {
    return notAsked(beforeBytes, `no jcmd beside ${java}: run Trino on a JDK to have heap given back`);
  }
  // The JVM talks to its own user only, root included.
  const owner = process.getuid?.() === 0 ? await stat(`/proc/${pid}`) : undefined;
  const run = await execa(command, [String(pid), 'GC.run'], {
    timeout: JCMD_MS,
    reject: false,
    ...(owner && owner.uid !== 0 ? { uid: owner.uid, gid: owner.gid } : {}),
  });
  if (run.failed) {
    throw new SpillwayError(
      'EngineFailed',
      `Look into the log of process ${pid}: ${command} ${pid} GC.run failed: ${run.shortMessage}`,
    );
  }
  const afterBytes = await settled(pid);
  return { beforeBytes, afterBytes, asked: true, because: `GC.run by ${command}` };
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

const notAsked = (bytes: number, because: string): Shrunk => ({
  beforeBytes: bytes,
  afterBytes: bytes,
  asked: false,
  because,
});

async function jcmdBeside(java: string): Promise<string | undefined> {
  const candidate = join(dirname(java), 'jcmd');
  return access(candidate, constants.X_OK).then(
    () => candidate,
    () => undefined,
  );
}
