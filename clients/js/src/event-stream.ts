/**
 * The entry `@lastseen/client/events`: the events of a channel to iterate, each once, over all reconnections.
 *
 * At most `maxBuffered` events wait for the iterator. Past that the channel is unsubscribed, and once half of them have
 * been taken it is subscribed again from its position: a page can't stop reading its connection, so a slow iterator
 * pulls at its own pace, memory stays bounded and nothing is lost. (Other handlers of the same channel wait with it.)
 */

import type { WebSocketClient } from "./client.js";
import type { LastseenError } from "./errors.js";
import type { LastseenEvent } from "./events.js";
import { Follower, type FollowerPort, type StartOptions, startOf } from "./follower.js";
import type { Gap } from "./notices.js";
import type { Position } from "./positions.js";
import type { Start } from "./subscription.js";

const MAX_BUFFERED = 1_000;

export interface StreamOptions extends StartOptions {
  /** 1,000 by default. */
  readonly maxBuffered?: number | undefined;
  /** Called in the order of the events: when the iterator has come to the gap. */
  readonly onGap?: ((gap: Gap) => void) | undefined;
}

/** `for await (const event of events(client, "task:x", { after: "earliest" }))`. */
export function events(client: WebSocketClient, channel: string, options: StreamOptions = {}): EventStream {
  return client.follow((port) => new EventStream(port, channel, startOf(options), options));
}

type Item =
  | { readonly event: LastseenEvent; readonly position: Position | undefined }
  | { readonly gap: Gap };

export class EventStream extends Follower implements AsyncIterableIterator<LastseenEvent> {
  readonly #max: number;
  readonly #onGap: ((gap: Gap) => void) | undefined;
  #items: Item[] = [];
  #waiting: { resolve(result: IteratorResult<LastseenEvent>): void; reject(error: unknown): void }[] = [];
  #error: LastseenError | undefined;
  #isHeld = false;
  /** Up to where it was taken, at least. */
  #taken: Position | undefined;

  constructor(port: FollowerPort, channel: string, start: Start | undefined, options: StreamOptions) {
    super(port, channel, start);
    this.#max = Math.max(1, options.maxBuffered ?? MAX_BUFFERED);
    this.#onGap = options.onGap;
  }

  override get reached(): Position | undefined {
    return this.#items.length > 0 ? this.#taken : super.reached;
  }

  override get hasRoom(): boolean {
    return !this.#isHeld;
  }

  override get isTaken(): boolean {
    return this.#items.length === 0;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event; waits for it. Rejects with what the stream ended with, once everything before it was taken. */
  next(): Promise<IteratorResult<LastseenEvent>> {
    const event = this.#shift();
    if (event) return Promise.resolve({ done: false, value: event });
    const error = this.#error;
    if (error) {
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Leaves the channel; `for await` calls it when it is left. */
  return(): Promise<IteratorResult<LastseenEvent>> {
    this.unsubscribe();
    this.#items = [];
    return Promise.resolve({ done: true, value: undefined });
  }

  override gap(gap: Gap): void {
    if (!this.begun || this.ended) return;
    this.#items.push({ gap });
    if (this.#waiting.length > 0) this.#shift();
  }

  override began(position: Position): void {
    super.began(position);
    this.#taken ??= position;
  }

  override fail(error: LastseenError): void {
    this.end(error);
    this.port.leave(this);
  }

  override caughtUp(): void {}

  protected override deliver(event: LastseenEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting) {
      this.#taken = super.reached;
      waiting.resolve({ done: false, value: event });
      return;
    }
    this.#items.push({ event, position: super.reached });
    if (this.#items.length >= this.#max && !this.#isHeld) {
      this.#isHeld = true;
      this.port.hold(this);
    }
  }

  protected override finished(error: LastseenError | undefined): void {
    const [first, ...others] = this.#waiting;
    this.#waiting = [];
    if (first && error) first.reject(error);
    else if (first) first.resolve({ done: true, value: undefined });
    else this.#error = error;
    for (const other of others) other.resolve({ done: true, value: undefined });
  }

  #shift(): LastseenEvent | undefined {
    let event: LastseenEvent | undefined;
    while (!event && this.#items.length > 0) {
      const item = this.#items.shift() as Item;
      if ("gap" in item) {
        this.port.guard(() => this.#onGap?.(item.gap));
      } else {
        event = item.event;
        this.#taken = item.position;
      }
    }
    if (this.#isHeld && this.#items.length * 2 <= this.#max) {
      this.#isHeld = false;
      this.port.drained(this);
    }
    return event;
  }
}
