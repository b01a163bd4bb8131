const QUOTE = 34; // "
const BACKSLASH = 92;
const MINUS = 45;
const ZERO = 48;
const NINE = 57;
// Shorter runs of digits are always below 2^53.
const RISKY_DIGITS = 16;

/**
 * Parses JSON without rounding: an integer past 2^53 comes as a string of its digits, everything else as `JSON.parse` gives it.
 * Digits inside strings, fractions and exponents are left alone.
 */
export function parseLossless(text: string): unknown {
  return JSON.parse(/\d{16}/.test(text) ? quoteLongIntegers(text) : text);
}

/** Puts quotes round the integers of a JSON text that a double cannot hold. */
export function quoteLongIntegers(text: string): string {
  const pieces: string[] = [];
  let copied = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
    } else if (code === MINUS || isDigit(code)) {
      const start = at;
      let plain = true;
      for (at += 1; at < text.length && isNumberPart(text.charCodeAt(at)); at += 1) {
        plain &&= isDigit(text.charCodeAt(at));
      }
      if (plain && at - start >= RISKY_DIGITS && !Number.isSafeInteger(Number(text.slice(start, at)))) {
        pieces.push(text.slice(copied, start), '"', text.slice(start, at), '"');
        copied = at;
      }
      at -= 1;
    }
  }
  return copied === 0 ? text : pieces.join('') + text.slice(copied);
}

const isDigit = (code: number): boolean => code >= ZERO && code <= NINE;
// Digits, `+`, `-`, `.`, `e`, `E`.
const isNumberPart = (code: number): boolean =>
  isDigit(code) || code === 43 || code === MINUS || code === 46 || code === 69 || code === 101;

/** Index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return at;
  }
  return text.length;
}
