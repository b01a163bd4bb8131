import { condition, defineQuery, defineSignal, defineUpdate, setHandler } from '@temporalio/workflow';
import type { Answer, Ask, Begin, BeginAnswer, Drop } from '../../src/contracts/pool.ts';
import { PoolMessage } from '../../src/contracts/pool.ts';

/** A pool that knows the messages of the first release; it grants what it is asked for, and dropped is what a signal says. */
export async function memoryPool(): Promise<void> {
  const dropped: string[] = [];
  setHandler(defineUpdate<Answer, [Ask]>(PoolMessage.ACQUIRE), ({ bytes }) => ({
    kind: 'granted',
    bytes,
    because: 'it fits',
  }));
  setHandler(defineUpdate<BeginAnswer, [Begin]>(PoolMessage.BEGIN), () => ({ token: 7 }));
  setHandler(defineSignal<[Drop[]]>(PoolMessage.DROP), (drops) => {
    for (const { dataId } of drops) dropped.push(dataId);
  });
  setHandler(defineQuery<string[]>('dropped'), () => dropped);
  await condition(() => false);
}
