/** Handlers by name, called in the order in which they came. */

export type Handler<T> = (value: T) => void;

/** `onError` is told of a handler that throws; the others are called all the same. */
export class Emitter<M extends object> {
  readonly #handlers = new Map<PropertyKey, Set<Handler<never>>>();
  readonly #onError: (error: unknown, name: PropertyKey) => void;

  constructor(onError: (error: unknown, name: PropertyKey) => void) {
    this.#onError = onError;
  }

  on<K extends keyof M>(name: K, handler: Handler<M[K]>): void {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
  }

  off<K extends keyof M>(name: K, handler?: Handler<M[K]>): void {
    if (!handler || (this.#handlers.get(name)?.delete(handler) && !this.has(name)))
      this.#handlers.delete(name);
  }

  has(name: PropertyKey): boolean {
    return (this.#handlers.get(name)?.size ?? 0) > 0;
  }

  get names(): Iterable<PropertyKey> {
    return this.#handlers.keys();
  }

  /** Whether somebody was called. */
  emit<K extends keyof M>(name: K, value: M[K]): boolean {
    const handlers = [...(this.#handlers.get(name) ?? [])] as Handler<M[K]>[];
    for (const handler of handlers) {
      try {
        handler(value);
      } catch (error) {
        this.#onError(error, name);
      }
    }
    return handlers.length > 0;
  }
}
