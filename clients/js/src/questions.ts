/** What was asked of channels on the present connection and not been answered yet, in the order of sending. */

import type { Start } from "./subscription.js";

type Verb = "subscribe" | "unsubscribe";

export interface Question {
  readonly channel: string;
  readonly verb: Verb;
  readonly withStart: boolean;
  /** The start, where the caller named it: then the position is forgotten. */
  readonly rewind: Start | undefined;
  /** The channel was given up since: whatever the answer says is of a stream that nobody follows any more. */
  readonly isVoid: boolean;
}

export class Questions {
  readonly #asked = new Map<string, Question>();
  #refs = 0;

  /** Its `ref`. */
  add(channel: string, verb: Verb, withStart = false, rewind: Start | undefined = undefined): string {
    const ref = `s${++this.#refs}`;
    this.#asked.set(ref, { channel, verb, withStart, rewind, isVoid: false });
    return ref;
  }

  clear(): void {
    this.#asked.clear();
  }

  giveUp(channel: string): void {
    for (const [ref, asked] of this.#asked) {
      if (asked.channel === channel && asked.verb === "subscribe")
        this.#asked.set(ref, { ...asked, isVoid: true });
    }
  }

  /** The question that is answered, also by a server that gives no `ref` back: answers come in the order of questions. */
  answered(ref: unknown, verb?: Verb, channel?: string): Question | undefined {
    const key = String(
      ref ?? [...this.#asked].find(([, asked]) => asked.channel === channel && asked.verb === verb)?.[0],
    );
    const asked = this.#asked.get(key);
    this.#asked.delete(key);
    return asked;
  }

  /** Whether an answer to a `subscribe` of the channel, or to one with a start, is still to come. */
  isAsked(channel: string, withStart = false): boolean {
    return [...this.#asked.values()].some(
      (asked) =>
        asked.channel === channel &&
        asked.verb === "subscribe" &&
        !asked.isVoid &&
        (asked.withStart || !withStart),
    );
  }
}
