import type { Connection } from '@temporalio/client';

/** A queue and the processes that polled it lately. */
export interface QueuePollers {
  readonly queue: string;
  readonly pollers: string[];
}

/** A poll waits up to a minute; the server lists pollers for five after their last one. */
const POLLED_WITHIN_MS = 70_000;

/** Kinds of tasks, as the server numbers them (temporal.api.enums.v1.TaskQueueType). */
const TASK_KIND = { workflow: 1, activity: 2 } as const;

/** Who polls each of these queues now. */
export function recentPollers(
  connection: Connection,
  namespace: string,
  queues: readonly { readonly queue: string; readonly kind: keyof typeof TASK_KIND }[],
): Promise<QueuePollers[]> {
  return Promise.all(
    queues.map(async ({ queue, kind }) => {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: queue },
        taskQueueType: TASK_KIND[kind],
      });
      const recent = (pollers ?? []).filter(
        ({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000 > Date.now() - POLLED_WITHIN_MS,
      );
      return { queue, pollers: recent.map(({ identity }) => identity ?? '') };
    }),
  );
}
