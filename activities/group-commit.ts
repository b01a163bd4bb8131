/** More than this many messages in one would come near the 2 MB that Temporal takes as one payload. */
const MOST_TOGETHER = 100;

interface Waiting<Message, Answer> {
  message: Message;
  answered: (answer: Answer) => void;
  failed: (error: unknown) => void;
}

/** Answers in the order of the messages. When it fails, that is the answer to all of them. */
type Send<Message, Answer> = (messages: Message[]) => Promise<PromiseSettledResult<Answer>[]>;

/**
 * Sends what many say to one receiver, as a database commits for many: one message is under way at a time, and what is said
 * meanwhile goes together with the next, in the order it was said. Whoever is alone waits for nobody.
 */
export class GroupCommit<Message, Answer> {
  readonly #send: Send<Message, Answer>;
  #waiting: Waiting<Message, Answer>[] = [];
  #sending = false;

  constructor(send: Send<Message, Answer>) {
    this.#send = send;
  }

  /** @returns the answer to this message. @throws what `send` throws */
  say(message: Message): Promise<Answer> {
    const said = new Promise<Answer>((answered, failed) => void this.#waiting.push({ message, answered, failed }));
    if (!this.#sending) void this.#sendAll();
    return said;
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    try {
      await Promise.resolve(); // what is said in the same breath is sent together
      while (this.#waiting.length > 0) await this.#sendNext(this.#waiting.splice(0, MOST_TOGETHER));
    } finally {
      this.#sending = false;
    }
  }

  async #sendNext(together: Waiting<Message, Answer>[]): Promise<void> {
    try {
      const answers = await this.#send(together.map(({ message }) => message));
      if (answers.length !== together.length)
        throw new Error(`${answers.length} answers to ${together.length} messages`);
      together.forEach(({ answered, failed }, index) => {
        const answer = answers[index]!;
        if (answer.status === 'fulfilled') answered(answer.value);
        else failed(answer.reason);
      });
    } catch (error) {
      for (const { failed } of together) failed(error);
    }
  }
}
