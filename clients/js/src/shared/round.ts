/** The tabs that share: this one's part in it, whether it leads, and the line between them. */

import { LastseenError } from "../errors.js";
import { type Clock, REAL_CLOCK } from "../options.js";
import { subjectOf } from "../subject.js";
import { Leader } from "./leader.js";
import type { Browser, FromLeader, Said, SharedOptions, ToLeader } from "./messages.js";

export type Content<M> = M extends unknown ? Omit<M, "tab" | "term"> : never;

export interface RoundPort {
  /** What the present leader says. */
  hear(said: FromLeader): void;
  /** Another one leads: it knows nothing of this tab yet. */
  follow(): void;
  report(error: LastseenError): void;
}

/** Between attempts to get a token. */
const BASE_MS = 1_000;
const CAP_MS = 30_000;

/** From `join` to `leave`; a tab that comes again makes another one. */
export class Round {
  readonly #options: SharedOptions;
  readonly #browser: Browser;
  readonly #tab: string;
  readonly #newId: () => string;
  readonly #port: RoundPort;
  readonly #clock: Clock;
  readonly #leaving = new AbortController();
  /** Of the line and the locks: the tabs with the same one share. */
  #name = "";
  #line: ReturnType<Browser["line"]> | undefined;
  #leader: Leader | undefined;
  #term: string | undefined;
  /** Of leaders that have gone: what still comes of them concerns nobody. */
  readonly #former = new Set<string>();

  constructor(options: SharedOptions, browser: Browser, tab: string, newId: () => string, port: RoundPort) {
    this.#options = options;
    this.#browser = browser;
    this.#tab = tab;
    this.#newId = newId;
    this.#port = port;
    this.#clock = options.clock ?? REAL_CLOCK;
  }

  get isLeading(): boolean {
    return this.#leader !== undefined;
  }

  async join(): Promise<void> {
    const name = await this.#nameOf();
    if (this.#isOver) return;
    this.#name = name;
    // First the lock that says that this tab lives.
    await this.#hold(this.#lockOf(this.#tab), () => {
      this.#line = this.#browser.line(name);
      this.#line.onmessage = ({ data }: { readonly data: unknown }): void => {
        if (!this.#isOver && "fromLeader" in (data as Said))
          this.#hear((data as { fromLeader: FromLeader }).fromLeader);
      };
      this.say({ do: "hello" });
      void this.#hold(`${name}:leader`, () => this.#lead());
    });
  }

  leave(): void {
    this.say({ do: "bye" });
    this.#leader?.stop();
    this.#line?.close();
    this.#line = this.#leader = undefined;
    this.#leaving.abort();
  }

  /** Dropped where nobody is there to hear it: whoever leads next is told all of it. */
  say(content: Content<ToLeader>): void {
    const toLeader = { tab: this.#tab, term: this.#term, ...content } as ToLeader;
    this.#line?.postMessage({ toLeader } satisfies Said);
  }

  get #isOver(): boolean {
    return this.#leaving.signal.aborted;
  }

  /** Known once it is known whose the token is: only tabs of one user share. One whose user can't be read is alone. */
  async #nameOf(): Promise<string> {
    const { token, url = "", clientId = "", projectId = "" } = this.#options;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const user = subjectOf(typeof token === "function" ? await token() : token) ?? this.#newId();
        return JSON.stringify(["lastseen", url, user, clientId, projectId]);
      } catch (cause) {
        if (this.#isOver) return "";
        this.#port.report(new LastseenError("no token could be had yet", "authentication", { cause }));
      }
      const ms = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 16)) * this.#clock.random();
      await new Promise<void>((resolve) => this.#clock.setTimeout(resolve, ms));
      if (this.#isOver) return "";
    }
  }

  #lockOf(tab: string): string {
    return `${this.#name}:tab:${tab}`;
  }

  /** Once it has the lock, `act`, and keep it until this tab leaves. */
  async #hold(name: string, act: () => void): Promise<void> {
    const { signal } = this.#leaving;
    try {
      await this.#browser.locks.request(name, { signal }, () => {
        if (this.#isOver) return Promise.resolve();
        const left = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        act();
        return left;
      });
    } catch (cause) {
      if (!this.#isOver) this.#port.report(new LastseenError("no lock could be had", "tabs", { cause }));
    }
  }

  #lead(): void {
    const term = this.#newId();
    const { locks, line } = this.#browser;
    const lockOf = (tab: string): string => this.#lockOf(tab);
    const options = { client: this.#options, line: line(this.#name), locks, term, tab: this.#tab, lockOf };
    this.#leader = new Leader(options);
    this.#leader.start();
  }

  #hear(said: FromLeader): void {
    const { term } = said;
    if (this.#former.has(term) || (said.do !== "state" && term !== this.#term)) return;
    if (term !== this.#term) {
      if (this.#term !== undefined) this.#former.add(this.#term);
      this.#term = term;
      this.#port.follow();
    }
    this.#port.hear(said);
  }
}
