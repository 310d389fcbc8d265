/** Who is there, asked again every so often and with each connection. */

import type { WebSocketClient } from "../src/client.js";
import { LastseenError } from "../src/errors.js";
import { Store } from "./store.js";

export interface PresenceOptions {
  /** Asked again after so long; 5,000. */
  readonly pollMs?: number | undefined;
}

export interface Presence {
  /** The users who have a connection, on any node, that is subscribed to the channel. */
  readonly users: readonly string[];
  /** Whether that was answered at all. */
  readonly isKnown: boolean;
  /** Why it was not answered the last time. */
  readonly error: LastseenError | undefined;
}

/** What may pass by itself; a refusal does not, and is asked for again on the next connection. */
const PASSING: ReadonlySet<string> = new Set(["unavailable", "closed", "too_many_waiting"]);

export class PresenceStore extends Store<Presence> {
  readonly #client: WebSocketClient;
  readonly #channel: string | undefined;
  readonly #pollMs: number;
  #presence: Presence = { users: [], isKnown: false, error: undefined };
  #off: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAsking = false;
  #isRunning = false;

  constructor(client: WebSocketClient, channel: string | undefined, { pollMs = 5_000 }: PresenceOptions) {
    super({ users: [], isKnown: false, error: undefined });
    this.#client = client;
    this.#channel = channel;
    this.#pollMs = pollMs;
  }

  /** Ask now. */
  readonly refresh = (): void => void this.#ask();

  protected override snapshot(): Presence {
    return this.#presence;
  }

  protected override start(): void {
    this.#isRunning = true;
    this.#off = this.#client.on("connected", this.refresh);
    this.refresh();
  }

  protected override stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    this.#off?.();
  }

  async #ask(): Promise<void> {
    if (this.#channel === undefined || !this.#isRunning || !this.#client.isConnected || this.#isAsking)
      return;
    clearTimeout(this.#timer);
    this.#isAsking = true;
    try {
      this.#set({ users: await this.#client.presence(this.#channel), isKnown: true, error: undefined });
    } catch (error) {
      if (!(error instanceof LastseenError)) throw error;
      this.#set({ ...this.#presence, error });
    } finally {
      this.#isAsking = false;
    }
    const { error } = this.#presence;
    const isRefused = error !== undefined && !PASSING.has(error.code);
    if (this.#isRunning && !isRefused) this.#timer = setTimeout(this.refresh, this.#pollMs);
  }

  #set(next: Presence): void {
    const { users, isKnown, error } = this.#presence;
    const isSame =
      isKnown === next.isKnown &&
      error === next.error &&
      users.length === next.users.length &&
      users.every((user, index) => user === next.users[index]);
    if (isSame) return;
    this.#presence = next;
    this.flush();
  }
}
