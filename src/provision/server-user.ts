import { readFileSync } from 'node:fs';

/** A user of this host, by number. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Whom PostgreSQL runs as: nobody else when we are not root; else `postgres`, or `nobody` where there is no such user.
 * Raises an error when we are root and the host has neither.
 */
export function serverUser(passwdFile = '/etc/passwd', uid = process.getuid?.()): ServerUser | undefined {
  if (uid !== 0) return undefined;
  const users = readFileSync(passwdFile, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const user = users.find(([login]) => login === name);
    if (user?.[2] !== undefined && user[3] !== undefined) return { uid: Number(user[2]), gid: Number(user[3]) };
  }
  throw new Error('PostgreSQL does not run as root, and there is neither a user postgres nor nobody');
}
