/** The locks and lines that the tabs of a browser share, and tabs that can be killed. */

import type { Line, Locks } from "../src/shared/messages.js";

interface Request {
  readonly tab: string;
  readonly signal: AbortSignal;
  readonly held: () => Promise<void>;
  resolve(): void;
  reject(cause: unknown): void;
}

interface FakeLine extends Line {
  readonly tab: string;
  readonly name: string;
  readonly inbox: unknown[];
}

export class FakeBrowser {
  #lines: FakeLine[] = [];
  readonly #holders = new Map<string, Request>();
  readonly #queues = new Map<string, Request[]>();
  readonly #dead = new Set<string>();

  /** A line of a tab: what is posted reaches all others of its name, in the order of posting. */
  line(tab: string, name: string): Line {
    let isOpen = true;
    const line: FakeLine = {
      tab,
      name,
      inbox: [],
      onmessage: null,
      postMessage: (data) => {
        if (this.#dead.has(tab)) return;
        if (!isOpen) throw new Error("the line is closed");
        for (const other of this.#lines) {
          if (other !== line && other.name === name) other.inbox.push(structuredClone(data));
        }
      },
      close: () => {
        isOpen = false;
        this.#lines = this.#lines.filter((one) => one !== line);
      },
    };
    if (!this.#dead.has(tab)) this.#lines.push(line);
    return line;
  }

  locks(tab: string): Locks {
    return {
      request: (name, { signal }, held) =>
        new Promise<void>((resolve, reject) => {
          if (this.#dead.has(tab)) return;
          const request: Request = { tab, signal, held, resolve, reject };
          signal.addEventListener("abort", () => this.#withdraw(name, request));
          this.#queues.set(name, [...(this.#queues.get(name) ?? []), request]);
          this.#grant(name);
        }),
    };
  }

  /** The next messages reach one of the lines that have some. Whether there was one. */
  pass(which: number, count: number): boolean {
    const waiting = this.#lines.filter(({ inbox }) => inbox.length > 0);
    const line = waiting[which % Math.max(1, waiting.length)];
    if (!line) return false;
    for (const data of line.inbox.splice(0, count)) line.onmessage?.({ data } as never);
    return true;
  }

  /** It is gone at once: nothing of it is heard, and its locks are free. */
  kill(tab: string): void {
    this.#dead.add(tab);
    this.#lines = this.#lines.filter((one) => one.tab !== tab);
    for (const [name, queue] of this.#queues) {
      this.#queues.set(
        name,
        queue.filter((one) => one.tab !== tab),
      );
    }
    for (const [name, holder] of this.#holders) {
      if (holder.tab !== tab) continue;
      this.#holders.delete(name);
      this.#grant(name);
    }
  }

  #withdraw(name: string, request: Request): void {
    const queue = this.#queues.get(name) ?? [];
    if (!queue.includes(request)) return;
    this.#queues.set(
      name,
      queue.filter((one) => one !== request),
    );
    request.reject(request.signal.reason);
  }

  #grant(name: string): void {
    const next = this.#queues.get(name)?.[0];
    if (this.#holders.has(name) || !next) return;
    this.#queues.get(name)?.shift();
    this.#holders.set(name, next);
    void next.held().then(() => {
      next.resolve();
      if (this.#holders.get(name) !== next) return;
      this.#holders.delete(name);
      this.#grant(name);
    });
  }
}
