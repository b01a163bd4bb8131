/** Edit distance (Levenshtein 1966) of two strings, without regard to case. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1]!.toLowerCase() === b[j - 1]!.toLowerCase() ? 0 : 1;
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The known name that a mistyped one most likely meant; undefined when none is near. */
export function nearestName(typed: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // Never so far that no letter of a short name need be right.
  let least = Math.min(Math.max(2, Math.floor(typed.length / 3)), typed.length - 1) + 1;
  for (const name of known) {
    const d = distance(typed, name);
    if (d < least) [best, least] = [name, d];
  }
  return best;
}
