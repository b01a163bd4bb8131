// Hooks of Node's module loader. Node reads TypeScript by itself from 22.18 on; these can go when that is the oldest that is served.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';

const compiled = new URL('../../node_modules/.cache/spillway-typescript/', import.meta.url);
mkdirSync(compiled, { recursive: true });

// The package itself can be loaded by jest's own runner only; under the light one its exports are globals.
const JEST_GLOBALS = `data:text/javascript,${encodeURIComponent(
  'export const { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } = globalThis;',
)}`;

export async function resolve(specifier, context, next) {
  if (specifier === '@jest/globals') return { url: JEST_GLOBALS, format: 'module', shortCircuit: true };
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !new URL(url).pathname.endsWith('.ts')) return next(url, context);
  return { format: 'module', source: await compile(fileURLToPath(url)), shortCircuit: true };
}

/** What is compiled is kept under the hash of its text. Types are not looked at: `npm run test:types` does. */
async function compile(path) {
  const text = readFileSync(path, 'utf8');
  const kept = new URL(`${createHash('sha256').update(path).update('\0').update(text).digest('hex')}.js`, compiled);
  try {
    return readFileSync(kept, 'utf8');
  } catch {
    // not compiled yet
  }
  const { transform } = await import('@swc/core');
  const { code } = await transform(text, {
    swcrc: false,
    filename: path,
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    sourceMaps: 'inline',
  });
  const written = new URL(`${kept.href}.${process.pid}-${threadId}`);
  writeFileSync(written, code);
  renameSync(written, kept);
  return code;
}
