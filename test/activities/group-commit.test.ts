import { describe, expect, test } from '@jest/globals';
import { GroupCommit } from '../../activities/group-commit.ts';

/** A receiver whose answers come when the test says so. */
function receiver() {
  const sent: number[][] = [];
  const pending: { answer: (answers: string[]) => void; fail: (error: Error) => void }[] = [];
  const line = new GroupCommit<number, string>((messages) => {
    sent.push(messages);
    return new Promise((answer, fail) => {
      pending.push({ answer: (answers) => answer(answers.map((value) => ({ status: 'fulfilled', value }))), fail });
    });
  });
  return { sent, pending, line };
}
const settled = () => new Promise<void>((done) => void setImmediate(done));

describe('group commit', () => {
  test('who is alone is sent alone', async () => {
    const { line, sent, pending } = receiver();
    const said = line.say(1);
    await settled();
    expect(sent).toEqual([[1]]);
    pending[0]!.answer(['one']);
    expect(await said).toBe('one');
  });

  test('what is said in one breath goes together', async () => {
    const { line, sent, pending } = receiver();
    const said = Promise.all([line.say(1), line.say(2)]);
    await settled();
    expect(sent).toEqual([[1, 2]]);
    pending[0]!.answer(['one', 'two']);
    expect(await said).toEqual(['one', 'two']);
  });

  test('what is said while a message is under way waits for it, and goes together in its order', async () => {
    const { line, sent, pending } = receiver();
    const first = line.say(1);
    await settled();
    const later = Promise.all([line.say(2), line.say(3), line.say(4)]);
    await settled();
    expect(sent).toEqual([[1]]);
    pending[0]!.answer(['one']);
    await first;
    await settled();
    expect(sent).toEqual([[1], [2, 3, 4]]);
    pending[1]!.answer(['two', 'three', 'four']);
    expect(await later).toEqual(['two', 'three', 'four']);
  });

  test('a failure is told to all that were sent, and to nobody else', async () => {
    const { line, sent, pending } = receiver();
    const first = Promise.allSettled([line.say(1), line.say(2)]);
    await settled();
    const later = line.say(3);
    pending[0]!.fail(new Error('no answer'));
    expect((await first).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await settled();
    expect(sent).toEqual([[1, 2], [3]]);
    pending[1]!.answer(['three']);
    expect(await later).toBe('three');
  });

  test('one of several can fail alone', async () => {
    const line = new GroupCommit<number, string>((messages) =>
      Promise.allSettled(
        messages.map((one) => (one === 2 ? Promise.reject(new Error('no two')) : Promise.resolve('one'))),
      ),
    );
    const [first, second] = await Promise.allSettled([line.say(1), line.say(2)]);
    expect(first).toMatchObject({ status: 'fulfilled', value: 'one' });
    expect(second).toMatchObject({ status: 'rejected', reason: { message: 'no two' } });
  });

  test('answers that are not as many as the messages fail all of them', async () => {
    const { line, pending } = receiver();
    const said = Promise.allSettled([line.say(1), line.say(2)]);
    await settled();
    pending[0]!.answer(['one']);
    for (const one of await said) expect(one).toMatchObject({ reason: { message: '1 answers to 2 messages' } });
  });

  test('no message carries more than 100', async () => {
    const { line, sent, pending } = receiver();
    const said = Promise.all(Array.from({ length: 250 }, (_, index) => line.say(index)));
    for (let turn = 0; turn < 3; turn += 1) {
      await settled();
      pending[turn]!.answer(sent[turn]!.map(String));
    }
    expect(await said).toEqual(Array.from({ length: 250 }, (_, index) => String(index)));
    expect(sent.map(({ length }) => length)).toEqual([100, 100, 50]);
  });
});
