/** A history whose code is loaded when it is read: a page that only follows does without. */

import type { HttpOptions } from "./call.js";
import type { LastseenEvent } from "./events.js";
import type { History, HistoryOptions, HistoryPage } from "./history.js";

/** As `History`; what is wrong with the options is told when it is read. */
export class LazyHistory implements AsyncIterable<LastseenEvent> {
  readonly #arguments: [HttpOptions, string, HistoryOptions];
  #history: History | undefined;

  constructor(...given: [HttpOptions, string, HistoryOptions]) {
    this.#arguments = given;
  }

  /** Once all was read: subscribe `after` it, and nothing falls between the history and live events. */
  get position(): string | undefined {
    return this.#history?.position;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LastseenEvent, void, undefined> {
    yield* await this.#load();
  }

  /** Page by page: forward from the oldest, or, with `newest`, backward from now. */
  async *pages(): AsyncGenerator<HistoryPage, void, undefined> {
    yield* (await this.#load()).pages();
  }

  async #load(): Promise<History> {
    this.#history ??= new (await import("./history.js")).History(...this.#arguments);
    return this.#history;
  }
}
