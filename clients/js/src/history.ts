/** Reading the past of a channel over HTTP, page by page. */

import { type CallOptions, call, type HttpOptions, type Query } from "./call.js";
import type { LastseenEvent } from "./events.js";
import type { Gap } from "./notices.js";
import { parsePosition } from "./positions.js";

export interface HistoryOptions extends CallOptions {
  /** Only events of these types. */
  readonly types?: readonly string[] | undefined;
  /** After this position; from the oldest on by default. */
  readonly after?: string | undefined;
  /** Appended in `[since, until)`, RFC 3339. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** Only so many of the last ones, in the order of their times. */
  readonly newest?: number | undefined;
  /** Events a page, 1–1,000. */
  readonly pageSize?: number | undefined;
  readonly onGap?: ((gap: Gap) => void) | undefined;
}

export interface HistoryPage {
  readonly events: readonly LastseenEvent[];
  /** Tokens to go on `after`, and to go back `before`; `previous` is null at the beginning. */
  readonly next: string;
  readonly previous: string | null;
  /** The position up to which the answer is complete. */
  readonly watermark: string;
  readonly gap?: Omit<Gap, "channels"> | null;
}

const PAGE = 1_000;

/**
 * The events of a channel that the log holds when it is asked; iterate it, once.
 *
 * In the order of the log, a partition after the other (the events of a project and of its tasks share one). While the
 * service is away it tries again, until the signal says stop.
 */
export class History implements AsyncIterable<LastseenEvent> {
  readonly #http: HttpOptions;
  readonly #channel: string;
  readonly #options: HistoryOptions;
  #position: string | undefined;

  constructor(http: HttpOptions, channel: string, options: HistoryOptions = {}) {
    if (options.newest !== undefined && options.newest < 1)
      throw new RangeError("newest: ask for at least one event");
    if (options.newest !== undefined && options.after !== undefined) {
      throw new TypeError("give one of after and newest");
    }
    if (options.after !== undefined) parsePosition(options.after);
    this.#http = http;
    this.#channel = channel;
    this.#options = options;
  }

  /** Once all was read: subscribe `after` it, and nothing falls between the history and live events. */
  get position(): string | undefined {
    return this.#position;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LastseenEvent, void, undefined> {
    const { newest } = this.#options;
    if (newest === undefined) {
      for await (const page of this.pages()) yield* page.events;
      return;
    }
    const found: LastseenEvent[] = [];
    for await (const page of this.pages()) found.push(...page.events);
    yield* found.slice(0, newest).reverse();
  }

  /** The pages: forward from the oldest, or, with `newest`, backward from now, each with its newest event first. */
  async *pages(): AsyncGenerator<HistoryPage, void, undefined> {
    const { newest, pageSize = PAGE } = this.#options;
    if (newest !== undefined) {
      let left = newest;
      for (let before: string | null = "latest"; before !== null && left > 0; ) {
        const page: HistoryPage = await this.#page({ before, limit: Math.min(pageSize, left) });
        this.#position ??= page.next;
        left -= page.events.length;
        before = page.previous;
        yield page;
      }
      return;
    }
    let end: string | undefined;
    for (let after = this.#options.after ?? "earliest"; ; ) {
      // Once it is known where the log ended when it was asked, what comes later is not waited for.
      const page: HistoryPage = await this.#page({ after, before: end, limit: pageSize });
      yield page;
      end ??= page.watermark;
      after = page.next;
      if (after === page.watermark) break;
    }
    this.#position = end;
  }

  async #page(query: Query): Promise<HistoryPage> {
    const { types, since, until, signal, onGap } = this.#options;
    const fixed = { channel: this.#channel, type: types, since, until };
    const page = await call<HistoryPage>(this.#http, "GET", "events", {
      query: { ...fixed, ...query },
      signal,
    });
    if (page.gap) onGap?.({ channels: [this.#channel], ...page.gap });
    return page;
  }
}
