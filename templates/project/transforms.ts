import { Table, Utf8, vectorFromArray } from 'apache-arrow';
import { defineTransforms } from 'spillway/transforms';

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Each is a function from batches of rows to batches of rows; a step runs it in a process of its own, within the memory it was lent. */
export default defineTransforms({
  /** Adds the name of the day of a date column. */
  async *weekday(batches, { args }) {
    for await (const batch of batches) {
      const days = Array.from(
        batch.getChild(String(args['column']))!,
        (day) => DAYS[new Date(Number(day)).getUTCDay()]!,
      );
      yield new Table([batch]).assign(new Table({ weekday: vectorFromArray(days, new Utf8()) }));
    }
  },
});
