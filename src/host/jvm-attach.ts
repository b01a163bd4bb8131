import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Why a process is not asked: nothing was sent to it. */
export class NoJvm extends Error {
  override readonly name = 'NoJvm';
}

const SOCKET_MS = 10_000;
const ANSWER_MS = 30_000;
const LOOK_AGAIN_MS = 10;
/** Bit of SIGQUIT in the masks of `/proc/<pid>/status`: signal 3. */
const SIGQUIT_BIT = 1n << 2n;

/**
 * Has a HotSpot JVM of this host run one diagnostic command, such as `GC.run`, and answers what it says. It is asked over the socket that it keeps for tools,
 * as `jcmd` asks it (`src/hotspot/os/posix/attachListener_posix.cpp` of OpenJDK): no JDK is needed for that, and no second JVM. The process must be of our user, or we root.
 * @throws NoJvm when the process is no JVM, or is not yet one; nothing was sent to it then
 * @throws Error when it does not answer within 40 s, or the command fails
 */
export async function askJvm(pid: number, command: string): Promise<string> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  if (basename(await readlink(`/proc/${pid}/exe`).catch(() => '')) !== 'java')
    throw new NoJvm(`process ${pid} is not a java that we may look at`);
  // The question begins with a SIGQUIT, which ends whoever does not wait for it: a JVM does from soon after its start on.
  const caught = BigInt(`0x${/^SigCgt:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  if ((caught & SIGQUIT_BIT) === 0n) throw new NoJvm(`process ${pid} does not listen for tools`);

  // In a container it has a pid and a /tmp of its own.
  const own = /^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? String(pid);
  const temporary = `/proc/${pid}/root/tmp`;
  const socket = `${temporary}/.java_pid${own}`;
  const request = ['1', 'jcmd', command, '', ''].map((part) => `${part}\0`).join('');
  const answer = await ask(socket, request).catch(async (error: unknown) => {
    if (!nobodyListens(error)) throw error;
    await rm(socket, { force: true }); // left of a killed process that had the same pid
    return askOnceItListens(pid, `${temporary}/.attach_pid${own}`, socket, request);
  });
  const end = answer.indexOf('\n');
  const said = answer.slice(end + 1).trim();
  if (answer.slice(0, end) !== '0') throw new Error(`${command} failed: ${said || answer}`);
  return said;
}

const nobodyListens = (error: unknown): boolean =>
  ['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Has the JVM open its socket first, which it does at a SIGQUIT while such a file of its user's, or of root's, lies there. */
async function askOnceItListens(pid: number, trigger: string, socket: string, request: string): Promise<string> {
  await rm(trigger, { force: true });
  // Never through a link that another user has put there: everybody may write into that folder.
  await writeFile(trigger, '', { flag: 'wx', mode: 0o600 });
  try {
    process.kill(pid, 'SIGQUIT');
    for (const deadline = Date.now() + SOCKET_MS; Date.now() < deadline; await sleep(LOOK_AGAIN_MS)) {
      try {
        return await ask(socket, request);
      } catch (error) {
        if (!nobodyListens(error)) throw error;
      }
    }
    throw new Error(`process ${pid} opened no socket for tools within ${SOCKET_MS / 1000} s`);
  } finally {
    await rm(trigger, { force: true });
  }
}

/** Sends a request, and answers all that comes until the other side closes. */
function ask(path: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = createConnection({ path, timeout: ANSWER_MS });
    socket
      .setEncoding('utf8')
      .once('connect', () => socket.write(request))
      .on('data', (text: string) => (answer += text))
      .once('timeout', () => socket.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)))
      .once('error', reject)
      .once('close', () => resolve(answer));
  });
}
