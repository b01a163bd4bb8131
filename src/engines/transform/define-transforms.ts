import type { RecordBatch, Table } from 'apache-arrow';

/** JSON values that a workflow may pass to a transform. */
export type TransformArgs = Readonly<Record<string, unknown>>;

/** What a transform knows of the step it runs in. */
export interface TransformContext {
  /** `args` of the step; empty when it has none. */
  readonly args: TransformArgs;
  readonly step: string;
  readonly run: string;
}

/**
 * Makes rows of rows, a batch at a time. Each batch of the input has at most the rows that the host's profile says, at least one batch comes,
 * and all have the same columns. What is yielded must have the same columns throughout, and at least one batch, if only an empty one.
 */
export type Transform = (
  batches: AsyncIterable<RecordBatch>,
  context: TransformContext,
) => AsyncIterable<RecordBatch | Table>;

/**
 * Gives the transforms back as they are, with their types: for `export default defineTransforms({ … })` in the module that
 * `transforms` names in the configuration.
 *
 * @example
 * export default defineTransforms({
 *   async *recent(batches, { args }) {
 *     for await (const batch of batches) yield keepFrom(batch, Number(args['year']));
 *   },
 * });
 */
export const defineTransforms = <const Transforms extends Readonly<Record<string, Transform>>>(
  transforms: Transforms,
): Transforms => transforms;
