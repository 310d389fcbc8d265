/** The token of a client: fixed, or made when it is needed, and put in the place of one that runs out. */

import { LastseenError } from "./errors.js";
import type { Message } from "./notices.js";
import type { Clock, Token } from "./options.js";

/** Between two attempts: the service tells a minute before a token's end. */
const RETRY_MS = 5_000;
const REF = "authenticate";

export class Renewal {
  readonly #token: Token;
  readonly #clock: Clock;
  readonly #send: (message: Message) => void;
  readonly #onError: (error: LastseenError) => void;
  #present = "";
  #timer: unknown;
  #isRenewing = false;

  constructor(
    token: Token,
    clock: Clock,
    send: (message: Message) => void,
    onError: (error: LastseenError) => void,
  ) {
    this.#token = token;
    this.#clock = clock;
    this.#send = send;
    this.#onError = onError;
  }

  /** Whether another token can be had. */
  get canRenew(): boolean {
    return typeof this.#token === "function";
  }

  /** A token for a new connection; rejects with what the caller's function rejects with. */
  async token(): Promise<string> {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    this.#present = token;
    return token;
  }

  /** The token of the open connection ends soon. */
  expiring(): void {
    if (this.canRenew && !this.#isRenewing) {
      this.#isRenewing = true;
      void this.#renew();
    }
  }

  /** The connection is gone: the next one begins with a token of its own. */
  stop(): void {
    this.#isRenewing = false;
    this.#clock.clearTimeout(this.#timer);
  }

  /** Whether this message of the server answers a renewal. */
  take(message: Message): boolean {
    if (message.ref !== REF) return false;
    if (message.type === "error" && message.retry_after !== undefined) {
      this.#present = ""; // the same may be taken when it is sent again
      return true;
    }
    this.stop();
    if (message.type === "error") {
      this.#onError(
        new LastseenError(`the new token was not taken: ${String(message.message)}`, "authentication"),
      );
    }
    return true;
  }

  async #renew(): Promise<void> {
    const before = this.#present;
    try {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      // On another connection that has come meanwhile, it is the token already.
      if (this.#isRenewing && this.#present === before && token !== before) {
        this.#present = token;
        this.#send({ type: "authenticate", token, ref: REF });
      }
    } catch (cause) {
      this.#onError(new LastseenError("no new token could be had yet", "authentication", { cause }));
    }
    if (this.#isRenewing) this.#timer = this.#clock.setTimeout(() => void this.#renew(), RETRY_MS);
  }
}

/** Who a JWT says that its bearer is; undefined where it can't be read. */
export function subjectOf(token: string): string | undefined {
  try {
    const claims = atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"));
    const bytes = Uint8Array.from(claims, (character) => character.charCodeAt(0));
    const subject: unknown = (JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown }).sub;
    return typeof subject === "string" ? subject : undefined;
  } catch {
    return undefined;
  }
}
