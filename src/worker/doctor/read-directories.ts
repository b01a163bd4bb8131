import { access, constants, stat } from 'node:fs/promises';
import type { HostDirectory, ResolvedConfig, WebDirectory } from '../../config/resolved.ts';
import type { Finding } from '../../contracts/doctor.ts';
import { whyNoAnswer } from '../../engines/files/download-files.ts';
import {
  type DirectoryReading,
  examineDirectory,
  examineWebDirectory,
  type WebReading,
} from '../../policy/doctor/directories.ts';
import type { SecretReader } from '../engines.ts';

/** Looks at the directories that steps may name. */
export const examineDirectories = (
  { directories, runtime }: ResolvedConfig,
  readSecret: SecretReader,
): Promise<Finding[]> =>
  Promise.all(
    Object.entries(directories).map(async ([name, directory]) =>
      'url' in directory
        ? examineWebDirectory(await readWebDirectory(name, directory, readSecret))
        : examineDirectory(await readDirectory(name, directory, runtime.kind === 'process')),
    ),
  );

async function readDirectory(
  name: string,
  { path, access: wanted }: HostDirectory,
  sameUser: boolean,
): Promise<DirectoryReading> {
  const found = await stat(path).catch(() => undefined);
  const may = (mode: number): Promise<boolean> => access(path, mode).then(() => true, () => false); // prettier-ignore
  return {
    ...{ name, path, access: wanted },
    found: found === undefined ? 'absent' : found.isDirectory() ? 'directory' : 'no directory',
    readable: await may(constants.R_OK | constants.X_OK),
    writable: await may(constants.W_OK),
    readableByOthers: sameUser || ((found?.mode ?? 0) & 0o005) === 0o005,
  };
}

const ANSWER_MS = 5_000;

async function readWebDirectory(
  name: string,
  { url, token }: WebDirectory,
  readSecret: SecretReader,
): Promise<WebReading> {
  let headers: Record<string, string>;
  try {
    headers = token ? { authorization: `Bearer ${readSecret(token)}` } : {};
  } catch (error) {
    return { name, url, noToken: (error as Error).message };
  }
  try {
    const { status } = await fetch(url, { method: 'HEAD', headers, signal: AbortSignal.timeout(ANSWER_MS) });
    return { name, url, status };
  } catch (error) {
    return { name, url, because: whyNoAnswer(error) };
  }
}
