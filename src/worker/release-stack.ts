/** Closes one opened thing. */
export type Release = () => Promise<void> | void;

/**
 * Opened things, closed in reverse order. Closing twice is legal and closes once; all errors are collected into one. What is opened after that is closed
 * at once, and errors of that are nobody's.
 * @throws AggregateError from `close` when releases failed
 */
export class ReleaseStack {
  readonly #releases: { name: string; release: Release }[] = [];
  #closing: Promise<void> | undefined;
  #closed = false;

  /** Registers how to close what was just opened. */
  push(name: string, release: Release): void {
    if (this.#closed) void (async () => release())().catch(() => undefined);
    else this.#releases.push({ name, release });
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const errors: unknown[] = [];
    for (let top = this.#releases.pop(); top; top = this.#releases.pop()) {
      try {
        await top.release();
      } catch (error) {
        errors.push(new Error(`closing ${top.name} failed`, { cause: error }));
      }
    }
    this.#closed = true;
    if (errors.length > 0)
      throw new AggregateError(errors, `closing failed: ${errors.map((error) => (error as Error).message).join('; ')}`);
  }
}
