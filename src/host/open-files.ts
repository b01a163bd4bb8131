import { readdir, readFile, stat } from 'node:fs/promises';

/**
 * Whether any process that we may look into has a file open or mapped: unlinked then, its bytes would stay in use. A process of another user is not seen
 * unless we are root.
 */
export async function isOpenAnywhere(path: string, procRoot = '/proc'): Promise<boolean> {
  const file = await stat(path).catch(() => undefined);
  if (!file) return false;
  for (const pid of (await readdir(procRoot)).filter((name) => /^\d+$/.test(name))) {
    if (await hasMapped(`${procRoot}/${pid}/maps`, file)) return true;
    for (const fd of await readdir(`${procRoot}/${pid}/fd`).catch(() => [])) {
      const opened = await stat(`${procRoot}/${pid}/fd/${fd}`).catch(() => undefined); // follows to the file itself, whatever its name there
      if (opened?.ino === file.ino && opened.dev === file.dev) return true;
    }
  }
  return false;
}

/** Lines are `from-to perms offset major:minor inode path`, numbers of the device in hex (proc_pid_maps(5)). */
async function hasMapped(maps: string, file: { ino: number; dev: number }): Promise<boolean> {
  const text = await readFile(maps, 'utf8').catch(() => '');
  return text.split('\n').some((line) => {
    const [, , , device = '', inode] = line.split(/\s+/, 5);
    return Number(inode) === file.ino && deviceOf(device) === file.dev;
  });
}

/** A device's number as stat(2) gives it: glibc's makedev(3). */
function deviceOf(text: string): number {
  const [major = NaN, minor = NaN] = text.split(':').map((part) => Number.parseInt(part, 16));
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
