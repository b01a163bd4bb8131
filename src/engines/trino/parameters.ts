import { SpillwayError } from '../../contracts/errors.ts';
import type { Parameter } from '../../contracts/pipeline.ts';
import type { Position } from './errors.ts';

/** A statement with its values in place, and the way back to what the user wrote. */
export interface BoundStatement {
  sql: string;
  /** Turns a position in `sql` into one of the statement as written. */
  original: (position: Position) => Position;
}

// Literals with '' inside, quoted identifiers with "" inside, both kinds of comments: what a `?` or `;` means nothing in.
const OPAQUE = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\//g;
const INT_MAX = 2 ** 31;

/**
 * Puts values in the place of a statement's `?`, as typed literals, and takes off a trailing `;`.
 * Strings become varchar, whole numbers integer or bigint, other numbers double, then boolean and NULL.
 * Raises InvalidInput when their number differs from that of the `?`. A statement without values is left as it is, so
 * that the `?` of row patterns survive.
 */
export function bindParameters(statement: string, params: readonly Parameter[] = []): BoundStatement {
  const sql = withoutTerminator(statement);
  if (params.length === 0) return { sql, original: (position) => position };
  const marks = [...significant(sql)].filter((index) => sql[index] === '?');
  if (marks.length !== params.length) {
    throw new SpillwayError(
      'InvalidInput',
      `Give one value for each \`?\` of the statement: it has ${marks.length} and \`params\` has ${params.length}.`,
    );
  }
  let bound = '';
  let copied = 0;
  const edits: { line: number; start: number; grown: number }[] = [];
  marks.forEach((mark, index) => {
    bound += sql.slice(copied, mark);
    const literal = ` ${renderLiteral(params[index]!)} `;
    edits.push({ ...lineAndColumn(bound), grown: literal.length - 1 });
    bound += literal;
    copied = mark + 1;
  });
  return {
    sql: bound + sql.slice(copied),
    original: ({ line, column }) => {
      // Literals hold no line breaks, so lines are the same and only columns behind a literal have moved.
      const moved = edits.filter((edit) => edit.line === line && edit.start < column);
      const back = moved.reduce((sum, edit) => sum + Math.min(edit.grown, column - edit.start), 0);
      return { line, column: column - back };
    },
  };
}

/** Writes a value as a Trino literal that fits on one line. Raises InvalidInput for numbers that are not finite. */
export function renderLiteral(value: Parameter): string {
  if (value === null) return 'NULL';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return renderString(value);
  if (!Number.isFinite(value)) {
    throw new SpillwayError('InvalidInput', `Give finite numbers as \`params\`, got ${value}.`);
  }
  const whole = Number.isSafeInteger(value) && !Object.is(value, -0);
  const digits = whole ? wholeNumber(value) : `DOUBLE '${Object.is(value, -0) ? '-0.0' : value}'`;
  // `x -?` must not turn into the comment `x --5`.
  return whole && value < 0 ? `(${digits})` : digits;
}

const wholeNumber = (value: number): string =>
  value >= -INT_MAX && value < INT_MAX ? String(value) : `BIGINT '${value}'`;

/** Writes text as a varchar literal; characters that cannot stand on one line are escaped. */
export function renderString(text: string): string {
  if (!/[\u0000-\u001f\u007f\u2028\u2029]/.test(text)) return `'${text.replaceAll("'", "''")}'`;
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "''")
    .replace(
      /[\u0000-\u001f\u007f\u2028\u2029]/g,
      (character) => `\\${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  return `U&'${escaped}'`;
}

/** Writes a name as a quoted identifier. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function withoutTerminator(sql: string): string {
  let end = sql;
  for (;;) {
    const last = [...significant(end)].filter((index) => !/\s/.test(end[index]!)).at(-1);
    if (last === undefined || end[last] !== ';') return end;
    end = `${end.slice(0, last)} ${end.slice(last + 1)}`;
  }
}

/** Indexes of the characters that stand outside of strings, quoted names and comments. */
function* significant(sql: string): Generator<number> {
  let from = 0;
  for (const match of sql.matchAll(OPAQUE)) {
    for (let index = from; index < match.index; index += 1) yield index;
    // A quoted piece ends the statement as much as any word does: its last character counts, a comment's does not.
    if (/^['"]/.test(match[0])) yield match.index + match[0].length - 1;
    from = match.index + match[0].length;
  }
  for (let index = from; index < sql.length; index += 1) yield index;
}

function lineAndColumn(text: string): { line: number; start: number } {
  const before = text.split('\n');
  return { line: before.length, start: before.at(-1)!.length + 1 };
}
