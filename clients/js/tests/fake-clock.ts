/** Time that stands still until it is told. */

import type { Clock } from "../src/options.js";

export class FakeClock implements Clock {
  #now = 0;
  #next = 0;
  readonly #timers = new Map<number, { at: number; call: () => void }>();
  readonly #random: () => number;

  constructor(random: () => number = () => 0.5) {
    this.#random = random;
  }

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.#random();
  }

  setTimeout(call: () => void, ms: number): unknown {
    this.#next += 1;
    this.#timers.set(this.#next, { at: this.#now + ms, call });
    return this.#next;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number);
  }

  /** How many wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** So much later: what was due meanwhile is called, in its order, and what follows from it runs. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [id, { at, call }] = due;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, at);
      call();
      await settled();
    }
    this.#now = end;
    await settled();
  }
}

/** Until all that waits for nothing but its turn has had it. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}
