/** The newest so many events. */

import type { LastseenEvent } from "../src/events.js";

interface View {
  readonly items: readonly LastseenEvent[];
  /** How many came before them. */
  readonly dropped: number;
}

/** A view stays as it is; the same one comes as long as nothing was added. */
export class Newest {
  readonly #limit: number;
  #items: LastseenEvent[] = [];
  #dropped = 0;
  #view: View | undefined;

  constructor(limit: number) {
    if (!(limit >= 1)) throw new TypeError("limit: keep at least one event");
    this.#limit = limit;
  }

  get view(): View {
    if (!this.#view) {
      this.#drop(this.#items.length - this.#limit);
      this.#view = { items: [...this.#items], dropped: this.#dropped };
    }
    return this.#view;
  }

  add(event: LastseenEvent): void {
    this.#items.push(event);
    this.#view = undefined;
    if (this.#items.length >= 2 * this.#limit) this.#drop(this.#limit);
  }

  #drop(count: number): void {
    if (count <= 0) return;
    this.#items = this.#items.slice(count);
    this.#dropped += count;
  }
}
