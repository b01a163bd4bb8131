/**
 * Runs a workflow's local activities one after the other. Results of two that are under way together come one by one when they are
 * made, but all at once in a replay: what follows from them would then be commanded in another order, and the run could not go on.
 */
export class OneAtATime {
  #last: Promise<unknown> = Promise.resolve();

  /** Starts the act once the one before has ended, however it ended. */
  run<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#last.then(act);
    this.#last = result.catch(() => undefined); // told to whoever asked for it
    return result;
  }
}
