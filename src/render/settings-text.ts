import { GiB, KiB, MiB } from '../policy/sizes.ts';

/** One setting of a properties file, with the reason of its value. */
export interface Setting {
  readonly key: string;
  readonly value: string;
  /** Printed as a comment line above the setting; several lines where it holds newlines. */
  readonly why?: string;
}

/** Characters of a comment line that are still easy to read in a terminal. */
const COMMENT_WIDTH = 110;

/**
 * Settings as the text of a properties file: the reason as comment lines above each setting, never behind a value
 * (properties files take a trailing comment as part of the value, and the server then fails to read it).
 */
export function settingsText(header: string, settings: readonly Setting[]): string {
  const blocks = settings.map(({ key, value, why }) => `${why === undefined ? '' : comment(why)}${key}=${value}\n`);
  return `${comment(header)}\n${blocks.join('')}`;
}

/** Comment lines of at most {@link COMMENT_WIDTH} characters. */
export function comment(text: string): string {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '#';
    for (const word of paragraph.split(' ')) {
      if (line.length + 1 + word.length > COMMENT_WIDTH && line !== '#') {
        lines.push(line);
        line = '#';
      }
      line += ` ${word}`;
    }
    lines.push(line);
  }
  return `${lines.join('\n')}\n`;
}

/** A size in the largest unit that keeps it whole, as `1334MB`; engines read these units as binary. */
export function engineSize(bytes: number, bytesUnit: 'B' | 'kB' = 'B'): string {
  if (bytes > 0 && bytes % GiB === 0) return `${bytes / GiB}GB`;
  if (bytes % MiB === 0) return `${bytes / MiB}MB`;
  if (bytesUnit === 'kB' || bytes % KiB === 0) return `${Math.floor(bytes / KiB)}kB`;
  return `${bytes}B`;
}

/** A size as the JVM reads it, rounded down to whole MiB: `1334m`. */
export function jvmSize(bytes: number): string {
  return `${Math.floor(bytes / MiB)}m`;
}

/** A size as podman and docker read it, rounded up to whole MiB: `1334m`. */
export function containerSize(bytes: number): string {
  return `${Math.ceil(bytes / MiB)}m`;
}
