import { defineTransforms } from 'spillway/transforms';

export default defineTransforms({
  /** Its rows as they are. */
  async *same(batches) {
    yield* batches;
  },
});
