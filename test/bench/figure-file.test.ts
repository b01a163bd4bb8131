import { describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { figureFile } from '../../bench/figure-file.ts';
import { figureOf } from '../../bench/figures.ts';
import { packageRoot } from '../../src/provision/package-root.ts';

const figures = [figureOf({ name: 'begin', unit: 'ms', ours: [1, 2, 3] })];

describe('the file of a bench', () => {
  test('has name, git, machine, versions, rounds and figures, and survives a round trip', () => {
    const file = figureFile({ name: 'pool', rounds: 3, versions: { trino: '476' }, figures, root: packageRoot() });
    expect(Object.keys(file)).toEqual(['name', 'git', 'machine', 'versions', 'rounds', 'figures']);
    expect(JSON.parse(JSON.stringify(file))).toEqual(file);
    expect(file.versions).toEqual({ node: process.versions.node, trino: '476' });
    expect(file.machine.cpus).toBeGreaterThan(0);
    expect(file.machine.ramBytes).toBeGreaterThan(0);
  });

  test('says null for git outside of a checkout', () => {
    const root = mkdtempSync(join(tmpdir(), 'bench-file-'));
    try {
      expect(figureFile({ name: 'pool', rounds: 1, versions: {}, figures, root }).git).toBeNull();
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
