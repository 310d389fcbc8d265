/** What a client is doing, and the last message that it had. */

import type { WebSocketClient } from "../src/client.js";
import type { ClientState } from "../src/client-events.js";
import type { LastseenError } from "../src/errors.js";
import type { LastseenEvent } from "../src/events.js";
import type { Message } from "../src/notices.js";
import { Store } from "./store.js";

export interface Connection {
  readonly state: ClientState;
  readonly isConnected: boolean;
  /** Why it is not connected, where something went wrong. */
  readonly connectionError: LastseenError | undefined;
  /** Known from the first connection on. */
  readonly userId: string | undefined;
}

export class ConnectionStore extends Store<Connection> {
  readonly #client: WebSocketClient;
  #off: (() => void)[] = [];

  constructor(client: WebSocketClient) {
    super(connectionOf(client));
    this.#client = client;
  }

  protected override snapshot(before: Connection): Connection {
    const now = connectionOf(this.#client);
    const isSame = (Object.keys(now) as (keyof Connection)[]).every((name) => now[name] === before[name]);
    return isSame ? before : now;
  }

  protected override start(): void {
    const tell = (): void => this.flush();
    this.#off = (["state", "connected", "reconnect_failed"] as const).map((name) =>
      this.#client.on(name, tell),
    );
  }

  protected override stop(): void {
    for (const off of this.#off) off();
  }
}

/**
 * The last message. Of several that come within a frame only the last is seen: to see each, give a handler. While
 * somebody listens to it, what comes to the own user channel counts as read.
 */
export class LastMessageStore extends Store<LastseenEvent | Message | undefined> {
  readonly #client: WebSocketClient;
  #last: LastseenEvent | Message | undefined;
  #off: (() => void) | undefined;

  constructor(client: WebSocketClient) {
    super(undefined);
    this.#client = client;
  }

  protected override snapshot(): LastseenEvent | Message | undefined {
    return this.#last;
  }

  protected override start(): void {
    this.#off = this.#client.on("message", (message) => {
      this.#last = message;
      this.touch();
    });
  }

  protected override stop(): void {
    this.#off?.();
  }
}

function connectionOf({ state, isConnected, connectionError, userId }: WebSocketClient): Connection {
  return { state, isConnected, connectionError, userId };
}
