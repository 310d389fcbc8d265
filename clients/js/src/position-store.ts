/** Where each channel was left, kept in a storage of the page's; written a moment after it has moved. */

import type { Clock, PositionStorage } from "./options.js";
import { parsePosition } from "./positions.js";

const DELAY_MS = 500;
/** Channels kept; beyond, those that were begun first are forgotten. */
const MAX_CHANNELS = 500;

export class PositionStore {
  readonly #storage: PositionStorage | undefined;
  readonly #key: string;
  readonly #clock: Clock;
  readonly #onError: (cause: unknown) => void;
  readonly #current: () => Iterable<readonly [channel: string, token: string]>;
  readonly #kept: Map<string, string>;
  #timer: unknown;

  /** `current` gives where the channels are now. */
  constructor(
    storage: PositionStorage | undefined,
    key: string,
    clock: Clock,
    current: () => Iterable<readonly [channel: string, token: string]>,
    onError: (cause: unknown) => void,
  ) {
    this.#storage = storage;
    this.#key = key;
    this.#clock = clock;
    this.#current = current;
    this.#onError = onError;
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
    for (const [channel, token] of this.#current()) {
      this.#kept.set(channel, token);
    }
    for (const channel of this.#kept.keys()) {
      if (this.#kept.size <= MAX_CHANNELS) break;
      this.#kept.delete(channel);
    }
    try {
      this.#storage.setItem(this.#key, JSON.stringify(Object.fromEntries(this.#kept)));
    } catch (cause) {
      this.#onError(cause);
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
      this.#onError(cause);
    }
    return kept;
  }
}
