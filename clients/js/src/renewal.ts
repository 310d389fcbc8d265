/** Another token in the place of the open connection's, which ends soon: loaded when that is told, a minute before. */

import { LastseenError } from "./errors.js";
import type { Message } from "./notices.js";
import type { Clock } from "./options.js";

/** Between two attempts: the service tells a minute before a token's end. */
const RETRY_MS = 5_000;
const REF = "authenticate";

export interface RenewalPort {
  readonly clock: Clock;
  /** A token; rejects with what the caller's function rejects with. */
  readonly token: () => Promise<string>;
  readonly send: (message: Message) => void;
  readonly error: (error: LastseenError) => void;
}

/** One renewal, from the warning to its answer. */
export class Renewal {
  readonly #port: RenewalPort;
  #present: string;
  #timer: unknown;
  /** Whether it was answered, or the connection is gone. */
  isOver = false;

  /** `present` is the connection's token: the same again is not sent. */
  constructor(port: RenewalPort, present: string) {
    this.#port = port;
    this.#present = present;
    void this.#renew();
  }

  /** The connection is gone: the next one begins with a token of its own. */
  stop(): void {
    this.isOver = true;
    this.#port.clock.clearTimeout(this.#timer);
  }

  /** Whether this message of the server answers it. */
  take(message: Message): boolean {
    if (message.ref !== REF) return false;
    if (message.type === "error" && message.retry_after !== undefined) {
      this.#present = ""; // the same may be taken when it is sent again
      return true;
    }
    this.stop();
    if (message.type === "error") {
      const text = `the new token was not taken: ${String(message.message)}`;
      this.#port.error(new LastseenError(text, "authentication"));
    }
    return true;
  }

  async #renew(): Promise<void> {
    try {
      const token = await this.#port.token();
      if (!this.isOver && token !== this.#present) {
        this.#present = token;
        this.#port.send({ type: "authenticate", token, ref: REF });
      }
    } catch (cause) {
      this.#port.error(new LastseenError("no new token could be had yet", "authentication", { cause }));
    }
    if (!this.isOver) this.#timer = this.#port.clock.setTimeout(() => void this.#renew(), RETRY_MS);
  }
}
