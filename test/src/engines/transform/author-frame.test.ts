import { expect, test } from '@jest/globals';
import { authorFrame } from '../../../../src/engines/transform/author-frame.ts';

const OURS = '/opt/spillway/dist/src/engines/transform';

test.each<[string, string[], string | undefined]>([
  ['the function that threw', ['at weekday (/home/a/transforms.ts:5:177)', `at async run (file://${OURS}/transform-process.js:68:26)`], 'transforms.ts:5'],
  ['a module of its own, by URL', ['at file:///home/a%20b/rates.mjs:12:3', `at run (${OURS}/transform-process.js:68:26)`], 'rates.mjs:12'],
  ['the caller of a package', ['at parse (/home/a/node_modules/csv/lib/index.js:9:1)', 'at process.processTicksAndRejections (node:internal/process/task_queues:95:5)', 'at Object.rates (/home/a/transforms.ts:8:20)'], 'transforms.ts:8'],
  ['our code alone', [`at async run (file://${OURS}/transform-process.js:68:26)`], undefined],
  ['no frame', [], undefined],
])('%s', (_title, frames, place) => {
  expect(authorFrame(['Error: no such currency (XYZ:1:2)', ...frames.map((frame) => `    ${frame}`)].join('\n'), OURS)).toBe(place);
}); // prettier-ignore

test('nothing, where an error has no stack', () => {
  expect(authorFrame(undefined, OURS)).toBeUndefined();
});
