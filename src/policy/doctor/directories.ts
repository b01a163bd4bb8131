import type { Finding } from '../../contracts/doctor.ts';

/** A configured directory, as it is on the disk. */
export interface DirectoryReading {
  name: string;
  path: string;
  /** What steps may do there. */
  access: 'read' | 'write';
  /** `absent`, or what is in the way of a directory. */
  found: 'directory' | 'absent' | 'no directory';
  /** This process may read and list it; write to it. */
  readable: boolean;
  writable: boolean;
  /** So may containers, which have a user of their own. */
  readableByOthers: boolean;
}

/** Judges a directory that steps name. Pure. */
export function examineDirectory(directory: DirectoryReading): Finding {
  const { name, path, access, found } = directory;
  const check = `directory ${name}`;
  const fail = (because: string, mend: string): Finding => ({ check, verdict: 'fail', because, mend });
  if (found !== 'directory')
    return fail(`${path} is ${found === 'absent' ? 'not there' : 'no directory'}`, found === 'absent' ? `mkdir -p ${path}` : `set directories.${name}.path to a directory`); // prettier-ignore
  if (!directory.readable)
    return fail(`${path} may not be read by this user`, `give this user read and execute on ${path}`);
  if (access === 'write' && !directory.writable) return fail(`${path} may not be written to by this user`, `give this user write on ${path}, or set directories.${name}.access to 'read'`); // prettier-ignore
  return directory.readableByOthers
    ? { check, verdict: 'ok', because: `${path} may be ${access === 'write' ? 'read and written to' : 'read'}` }
    : { check, verdict: 'warn', because: `${path} is closed to other users, and containers read it as one`, mend: `chmod o+rx ${path}` }; // prettier-ignore
}
