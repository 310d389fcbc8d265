/** Handlers by name, called in the order in which they came; whatever one of them throws harms no other. */

import { LastseenError } from "./errors.js";

type Handler = (value: never) => void;

export class Emitter {
  readonly #handlers = new Map<string, Set<Handler>>();

  on(name: string, handler: Handler): void {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
  }

  /** Take a handler away, or all of a name. */
  off(name: string, handler?: Handler): void {
    const handlers = this.#handlers.get(name);
    if (!handler || (handlers?.delete(handler) && !handlers.size)) this.#handlers.delete(name);
  }

  /** Names that have handlers. */
  get names(): readonly string[] {
    return [...this.#handlers.keys()];
  }

  /** Whether somebody was called. */
  emit(name: string, value: unknown): boolean {
    const handlers = [...(this.#handlers.get(name) ?? [])];
    for (const handler of handlers) this.guard(() => handler(value as never), name);
    return handlers.length > 0;
  }

  /** Call a handler, whatever it does. */
  guard(call: () => void, name?: string): void {
    try {
      call();
    } catch (cause) {
      if (name === "error") console.error(cause);
      else this.report(new LastseenError(`a handler has thrown: ${String(cause)}`, "handler", { cause }));
    }
  }

  /** Tell the handlers of `error`. */
  report(error: LastseenError): void {
    if (!this.emit("error", error) && error.code === "handler") console.error(error.cause);
  }
}
