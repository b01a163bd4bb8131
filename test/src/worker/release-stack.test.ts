import { expect, test } from '@jest/globals';
import { ReleaseStack } from '../../../src/worker/release-stack.ts';

test('what was opened last is closed first, once', async () => {
  const closed: string[] = [];
  const stack = new ReleaseStack();
  for (const name of ['first', 'second']) stack.push(name, () => void closed.push(name));
  await Promise.all([stack.close(), stack.close()]);
  expect(closed).toEqual(['second', 'first']);
});

test('one that fails stops none of the others, and all that failed are told', async () => {
  const closed: string[] = [];
  const stack = new ReleaseStack();
  stack.push('good', () => void closed.push('good'));
  for (const name of ['bad', 'worse']) stack.push(name, () => Promise.reject(new Error(`no ${name}`)));
  await expect(stack.close()).rejects.toThrow('closing worse failed; closing bad failed');
  expect(closed).toEqual(['good']);
});

test('what is opened while it closes, or after, is closed as well', async () => {
  const closed: string[] = [];
  const stack = new ReleaseStack();
  stack.push('opened', async () => {
    stack.push('meanwhile', () => void closed.push('meanwhile'));
    closed.push('opened');
  });
  await stack.close();
  stack.push('late', () => void closed.push('late'));
  stack.push('late and broken', () => Promise.reject(new Error('nobody hears this')));
  await Promise.resolve();
  expect(closed).toEqual(['opened', 'meanwhile', 'late']);
});
