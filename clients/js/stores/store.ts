/** What a component reads: a value, and whom to tell of the next one. There is no React in it. */

/** At most so long an event waits for others of the same frame. */
const FRAME_MS = 16;

/**
 * It runs while somebody listens. The last one to leave may come back at once, as React's strict mode and a moved
 * component do: it stops only when the turn is over.
 */
export abstract class Store<T> {
  readonly #listeners = new Set<{ readonly call: () => void }>();
  readonly #most: number;
  #value: T;
  #isRunning = false;
  #pending = 0;
  #frame: ReturnType<typeof setTimeout> | undefined;
  #stopping: ReturnType<typeof setTimeout> | undefined;
  #onStop: (() => void) | undefined;

  /** `most`: so many changes are told at once, even within a frame: a page in the background has long frames. */
  constructor(initial: T, most = 500) {
    this.#value = initial;
    this.#most = most;
  }

  /** The present value: the same one as long as nothing has changed. */
  readonly get = (): T => {
    if (!this.#isRunning) this.#value = this.snapshot(this.#value);
    return this.#value;
  };

  /** Be called after each change; what is returned ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    const entry = { call: listener };
    this.#listeners.add(entry);
    clearTimeout(this.#stopping);
    if (!this.#isRunning) {
      this.#isRunning = true;
      this.start();
      this.#value = this.snapshot(this.#value);
    }
    return () => {
      if (this.#listeners.delete(entry) && this.#listeners.size === 0) {
        this.#stopping = setTimeout(() => this.#end(), 0);
      }
    };
  };

  /** Have something done whenever nobody listens any more. */
  whenStopped(call: () => void): void {
    this.#onStop = call;
  }

  /** Something has changed: tell it with whatever else changes within the frame. */
  protected touch(): void {
    this.#pending += 1;
    if (this.#pending >= this.#most) this.flush();
    else this.#frame ??= setTimeout(() => this.flush(), FRAME_MS);
  }

  /** Tell now. */
  protected flush(): void {
    this.#clear();
    const value = this.snapshot(this.#value);
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const { call } of [...this.#listeners]) call();
  }

  /** The value now; `before` itself where it is still that. */
  protected abstract snapshot(before: T): T;
  protected abstract start(): void;
  protected abstract stop(): void;

  #end(): void {
    this.#clear();
    this.#isRunning = false;
    this.stop();
    this.#onStop?.();
  }

  #clear(): void {
    clearTimeout(this.#frame);
    this.#frame = undefined;
    this.#pending = 0;
  }
}
