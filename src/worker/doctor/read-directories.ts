import { access, constants, stat } from 'node:fs/promises';
import type { ResolvedConfig } from '../../config/resolved.ts';
import type { DirectoryReading } from '../../policy/doctor/directories.ts';

/** Looks at the directories that steps may name. */
export const readDirectories = ({ directories, runtime }: ResolvedConfig): Promise<DirectoryReading[]> =>
  Promise.all(
    Object.entries(directories).map(async ([name, { path, access: wanted }]): Promise<DirectoryReading> => {
      const found = await stat(path).catch(() => undefined);
      const may = (mode: number): Promise<boolean> => access(path, mode).then(() => true, () => false); // prettier-ignore
      return {
        ...{ name, path, access: wanted },
        found: found === undefined ? 'absent' : found.isDirectory() ? 'directory' : 'no directory',
        readable: await may(constants.R_OK | constants.X_OK),
        writable: await may(constants.W_OK),
        readableByOthers: runtime.kind === 'process' || ((found?.mode ?? 0) & 0o005) === 0o005,
      };
    }),
  );
