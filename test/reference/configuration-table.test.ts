import { expect, test } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KNOWN_KEYS } from '../../src/config/keys.ts';
import { configurationTables, optionsTable } from '../../reference/configuration-table.ts';
import { STEP_CONTRACTS, stepOptions } from '../../reference/contracts.ts';
import { documentedKeys } from '../../reference/doc-comments.ts';
import { root } from '../src/render/golden.ts';

const documented = documentedKeys(join(root, 'src', 'config', 'options.ts'), 'SpillwayOptions');
const page = join(root, 'docs', 'configuration.md');
const blocks: Record<string, string> = {
  configuration: configurationTables(KNOWN_KEYS, documented),
  ...Object.fromEntries(
    ['StepOptions', 'RowsOptions', ...Object.values(STEP_CONTRACTS)].map((name) => [
      name,
      optionsTable(stepOptions(name)),
    ]),
  ),
};

test.each(KNOWN_KEYS.map(({ key }) => key))('%s says what it is', (key) => {
  expect(documented.get(key)?.text).toMatch(/\w/);
});

test('the page has every key, with its default and its variable, as the options say them', () => {
  const now = readFileSync(page, 'utf8');
  const wanted = now.replace(
    /(<!-- generated: (\w+) -->\n)[^]*?(<!-- end -->)/g,
    (_, before: string, name: string, after: string) => `${before}\n${blocks[name]}\n\n${after}`,
  );
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(page, wanted);
  else expect(cellsOf(now)).toEqual(cellsOf(wanted));
  for (const name of Object.keys(blocks)) expect(wanted).toContain(`<!-- generated: ${name} -->`);
  expect(wanted).toContain('| `pool.stepScratch` | Scratch of a step that declares none. |');
  expect(wanted).toContain('| `params` | Values for the `?` of the statement, in order. |');
});

/** Without the padding that the formatter gives tables. */
const cellsOf = (text: string): string[] =>
  text
    .replace(/ +\|/g, ' |')
    .replace(/-{3,}/g, '---')
    .split('\n')
    .filter((line) => line !== '');
