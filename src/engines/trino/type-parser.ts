/** A Trino type, taken apart. */
export interface TrinoType {
  /** Lower-case name with its suffix: `bigint`, `timestamp`, `timestamp with time zone`, `interval day to second`. */
  base: string;
  /** Numbers in brackets: precision, scale, length. */
  numbers: number[];
  /** Element, key and value, or fields. Only fields may have names. */
  inner: { name?: string; type: TrinoType }[];
  /** As the server wrote it. */
  text: string;
}

const SIMPLE = /^(?:interval day to second|interval year to month|[A-Za-z_]\w*)$/;
const BRACKETS = /^([A-Za-z_]\w*)\((.*)\)( with time zone)?$/s;

/** Takes a type apart as DESCRIBE OUTPUT prints it; undefined for text that is no type. */
export function parseType(text: string): TrinoType | undefined {
  if (SIMPLE.test(text)) return { base: text.toLowerCase(), numbers: [], inner: [], text };
  const match = BRACKETS.exec(text);
  if (!match) return undefined;
  const base = `${match[1]!.toLowerCase()}${match[3] ?? ''}`;
  const type: TrinoType = { base, numbers: [], inner: [], text };
  for (const argument of splitArguments(match[2]!)) {
    if (/^\d+$/.test(argument)) {
      type.numbers.push(Number(argument));
      continue;
    }
    const read = base === 'row' ? parseField(argument) : undefined;
    const inner = read ?? wrap(parseType(argument));
    if (!inner) return undefined;
    type.inner.push(inner);
  }
  return type;
}

const wrap = (type: TrinoType | undefined): { type: TrinoType } | undefined => type && { type };

/**
 * A field of a row: a type, or a name and a type. Names stand without quotes even when they hold spaces, so the name ends
 * at the first space behind which a type stands.
 */
function parseField(text: string): { name?: string; type: TrinoType } | undefined {
  const unnamed = parseType(text);
  if (unnamed) return { type: unnamed };
  for (let space = text.indexOf(' '); space !== -1; space = text.indexOf(' ', space + 1)) {
    const type = parseType(text.slice(space + 1));
    if (type && space > 0) return { name: text.slice(0, space), type };
  }
  return undefined;
}

/** Splits at the commas that stand in no inner brackets. */
function splitArguments(text: string): string[] {
  const found: string[] = [];
  let open = 0;
  let start = 0;
  for (let at = 0; at <= text.length; at += 1) {
    if (text[at] === '(') open += 1;
    else if (text[at] === ')') open -= 1;
    else if (at === text.length || (text[at] === ',' && open === 0)) {
      found.push(text.slice(start, at).trim());
      start = at + 1;
    }
  }
  return found;
}
