/** The newest events of several channels, each once: an event of a task is in its project's channel too. */

import type { LastseenEvent } from "@lastseen/client";

export class Merged {
  readonly #most: number;
  readonly #events: LastseenEvent[] = [];
  readonly #ids = new Set<string>();
  #view: readonly LastseenEvent[] = [];

  /** `most`: so many are kept at least, and a quarter more at most. */
  constructor(most: number) {
    this.#most = most;
  }

  add(event: LastseenEvent): void {
    if (this.#ids.has(event.id)) return;
    this.#ids.add(event.id);
    this.#events.push(event);
    if (this.#events.length > this.#most * 1.25)
      for (const gone of this.#events.splice(0, this.#events.length - this.#most)) this.#ids.delete(gone.id);
  }

  /** In the order in which they came; the same array as long as none has come. */
  get events(): readonly LastseenEvent[] {
    if (this.#view.at(-1) !== this.#events.at(-1)) this.#view = [...this.#events];
    return this.#view;
  }
}
