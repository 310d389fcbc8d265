/** Where each channel was left, kept in a storage of the page's; written a moment after it has moved. */

import type { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import type { Clock, PositionStorage } from "./options.js";
import type { Places } from "./places.js";
import { parsePosition } from "./positions.js";

const DELAY_MS = 500;
/** Channels kept; beyond, those that were begun first are forgotten. */
const MAX_CHANNELS = 500;

export class PositionStore {
  readonly #storage: PositionStorage | undefined;
  readonly #key: string;
  readonly #clock: Clock;
  readonly #places: Places;
  readonly #emitter: Emitter;
  readonly #kept: Map<string, string>;
  #timer: unknown;

  constructor(
    storage: PositionStorage | undefined,
    key: string,
    clock: Clock,
    places: Places,
    emitter: Emitter,
  ) {
    this.#storage = storage;
    this.#key = key;
    this.#clock = clock;
    this.#places = places;
    this.#emitter = emitter;
    this.#kept = this.#load();
  }

  get kept(): ReadonlyMap<string, string> {
    return this.#kept;
  }

  /** Something has moved. */
  touch(): void {
    if (this.#storage && this.#timer === undefined) {
      this.#timer = this.#clock.setTimeout(() => this.flush(), DELAY_MS);
    }
  }

  forget(channel: string): void {
    if (this.#kept.delete(channel)) this.touch();
  }

  /** Write it now. */
  flush(): void {
    if (!this.#storage) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [channel, token] of this.#places.all()) this.#kept.set(channel, token);
    for (const channel of this.#kept.keys()) {
      if (this.#kept.size <= MAX_CHANNELS) break;
      this.#kept.delete(channel);
    }
    try {
      this.#storage.setItem(this.#key, JSON.stringify(Object.fromEntries(this.#kept)));
    } catch (cause) {
      this.#failed(cause);
    }
  }

  /** What is there; of what is not ours to read, nothing. */
  #load(): Map<string, string> {
    const kept = new Map<string, string>();
    try {
      const stored: unknown = JSON.parse(this.#storage?.getItem(this.#key) ?? "{}");
      for (const [channel, token] of Object.entries(stored as Record<string, string>)) {
        parsePosition(token);
        kept.set(channel, token);
      }
    } catch (cause) {
      this.#failed(cause);
    }
    return kept;
  }

  #failed(cause: unknown): void {
    this.#emitter.report(new LastseenError("positions could not be kept", "storage", { cause }));
  }
}
