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

/** A configured web server, as it answers. */
export interface WebReading {
  name: string;
  url: string;
  /** Status of its answer to a HEAD of that address; absent when there was none. */
  status?: number;
  /** Why there was no answer. */
  because?: string;
  /** Why it was not asked: its token cannot be read. */
  noToken?: string;
}

/** Judges a web server whose files steps name. What it says of the address itself matters little: files lie below it. Pure. */
export function examineWebDirectory({ name, url, status, because, noToken }: WebReading): Finding {
  const check = `directory ${name}`;
  if (noToken !== undefined) return { check, verdict: 'fail', because: `${url} was not asked: ${noToken}`, mend: `keep the secret that directories.${name}.token names, or change it` }; // prettier-ignore
  if (status === undefined) return { check, verdict: 'fail', because: `${url} does not answer: ${because}`, mend: `look after ${url}, or set directories.${name}.url` }; // prettier-ignore
  if (status === 401 || status === 407) return { check, verdict: 'warn', because: `${url} answers ${status}`, mend: `set directories.${name}.token to a secret that may read it` }; // prettier-ignore
  if (status >= 500) return { check, verdict: 'warn', because: `${url} answers ${status}`, mend: `look after ${url}` };
  return { check, verdict: 'ok', because: `${url} answers` };
}
