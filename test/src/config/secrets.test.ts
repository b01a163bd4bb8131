import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSecret } from '../../../src/config/secrets.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-secret-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a secret comes from its variable first', () => {
  writeFileSync(join(folder, 'db'), 'from-file', { mode: 0o600 });
  expect(readSecret({ secret: 'db' }, { SPILLWAY_SECRET_DB: 'from-env' }, [folder])).toBe('from-env');
});

test('else from a file for its owner alone, without the last line end', () => {
  writeFileSync(join(folder, 'db'), 'two\nlines\n', { mode: 0o600 });
  expect(readSecret({ secret: 'db' }, {}, [join(folder, 'absent'), folder])).toBe('two\nlines');
});

test('a file that others may read is refused with the command that mends it', () => {
  writeFileSync(join(folder, 'db'), 'geheim', { mode: 0o644 });
  expect(() => readSecret({ secret: 'db' }, {}, [folder])).toThrow(/mode 644\)\. Run: chmod 600/);
});

test('a missing one is told with both places', () => {
  expect(() => readSecret({ secret: 'db' }, {}, [folder])).toThrow(
    `The secret db is nowhere. Set SPILLWAY_SECRET_DB, or write it to ${join(folder, 'db')}.`,
  );
});

test('the account that `spillway up` made needs no look-up', () => {
  expect(readSecret({ literal: 'x', provisioned: true }, {}, [])).toBe('x');
});
