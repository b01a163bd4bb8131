import { expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SNIPPET = /<!-- snippet: (\S+) -->\n+```\w+\n([^]*?)\n```/g;
const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.md'),
);
const snippets = pages.flatMap((page) =>
  [...readFileSync(join(root, 'docs', page), 'utf8').matchAll(SNIPPET)].map(([, file = '', text = '']) => ({
    page,
    file,
    text,
  })),
);

test('documentation shows code that is there', () => expect(snippets.length).toBeGreaterThan(2));

test.each(snippets)('the snippet of $file in $page is the file as it is', ({ file, text }) =>
  expect(text).toBe(readFileSync(join(root, file), 'utf8').trimEnd()),
);

test.each(pages)('links of %s lead to files that are there', (page) => {
  const links = [...readFileSync(join(root, 'docs', page), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)];
  for (const [, link = ''] of links)
    expect(() => readFileSync(join(root, 'docs', dirname(page), link))).not.toThrow('ENOENT');
});
