/** Where commands print; tests give their own. */
export interface Output {
  /** Answers. */
  out: (text: string) => void;
  /** Progress and errors. */
  err: (text: string) => void;
}

const isClosedPipe = (error: Error): boolean => 'code' in error && error.code === 'EPIPE';

/** Who reads the answer has seen enough, as `head` has: nothing is left to do for it. */
const endWithItsReader = (error?: Error | null): void => {
  if (error && isClosedPipe(error)) process.exit();
};

/** Has a pipe that nobody reads any more stop no worker: what it logs is lost, and its steps go on. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: Error) => {
      if (!isClosedPipe(error)) throw error;
    });
}

export const terminal: Output = {
  out: (text) => void process.stdout.write(`${text}\n`, endWithItsReader),
  err: (text) => void process.stderr.write(`${text}\n`),
};

/** Rows under a header, columns as wide as their widest cell; numbers, and '–' for one that nobody knows, to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [header, ...rows].map((row) => row.map(String));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const right = header.map((_, column) => {
    const known = rows.map((row) => row[column]).filter((cell) => cell !== '–');
    return known.length > 0 && known.every((cell) => typeof cell === 'number');
  });
  return cells
    .map((row) =>
      row
        .map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
