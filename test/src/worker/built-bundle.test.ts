import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBuilt, writeBuilt } from '../../../src/worker/built-bundle.ts';

const RELEASE = { spillway: '1.2.3', temporal: '1.24.0' };
const CODE = 'one();\ntwo();\n';
let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-bundle-'));
  path = join(folder, 'deep', 'bundle.js');
  writeBuilt(path, CODE, RELEASE);
});
afterEach(() => rmSync(folder, { recursive: true }));

test('what was written is read, and nothing lies beside it', () => {
  expect(readBuilt(path, RELEASE)).toEqual({ code: CODE });
  expect(readdirSync(join(folder, 'deep'))).toEqual(['bundle.js']);
});

describe('a file that would run other code than its sources say', () => {
  test.each([
    ['another release', { ...RELEASE, spillway: '1.2.4' }, 'was built with spillway 1.2.3, this worker has 1.2.4'],
    ['another Temporal', { ...RELEASE, temporal: '1.25.0' }, 'was built with temporal 1.24.0, this worker has 1.25.0'],
  ])('%s is refused', (_, wanted, message) => {
    expect(() => readBuilt(path, wanted)).toThrow(message);
    expect(() => readBuilt(path, wanted)).toThrow('Write it again with `spillway bundle --out`');
  });

  test('a cut or edited one is refused', () => {
    writeFileSync(path, readFileSync(path, 'utf8').replace('two', 'three'));
    expect(() => readBuilt(path, RELEASE)).toThrow('was cut or changed since it was written');
  });

  test('anything else is refused', () => {
    writeFileSync(path, CODE);
    expect(() => readBuilt(path, RELEASE)).toThrow('was not written by `spillway bundle`');
  });
});
