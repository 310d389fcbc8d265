/** What a client is told, and what the outside gives it. */

/** A JWT, or a function that gives one whenever it is needed: then another takes its place before it runs out. */
export type Token = string | (() => string | Promise<string>);

/** Where positions are kept across page reloads: `localStorage` and `sessionStorage` fit. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** What is used of a WebSocket: the browser's own fits, and so does that of the package `ws`. */
export interface SocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  readonly readyState: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

/** Time and randomness, to be replaced in tests. */
export interface Clock {
  /** Milliseconds, from any fixed point on. */
  now(): number;
  setTimeout(call: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** In [0, 1). */
  random(): number;
}

export interface ClientOptions {
  /** The service: `http://HOST:PORT`, `https://HOST`, or the same with ws and wss. In a page, its own origin if left out. */
  readonly url?: string;
  readonly token: Token;
  /** Adds the subscription of this project to the automatic ones. */
  readonly projectId?: string | undefined;
  /** Names this device's durable cursor of what came while the user was away; without one all of them share one. */
  readonly clientId?: string | undefined;
  /** Come back by itself when the connection breaks; true. */
  readonly autoReconnect?: boolean;
  /** Attempts in a row before `reconnect_failed`; without limit by default. */
  readonly maxReconnectAttempts?: number;
  /** Back-off in ms: `base`·2ⁿ up to `cap`, with full jitter; 1,000 and 30,000. A number is the base. */
  readonly reconnectDelay?: number | { readonly base?: number; readonly cap?: number };
  readonly storage?: PositionStorage | undefined;
  /** Confirm by itself what was handed to handlers of the own user channel; true. Else only `ack` does. */
  readonly autoAck?: boolean;
  /** The WebSocket to use; the global one by default (Node 20 has none: pass that of `ws`). */
  readonly WebSocket?: SocketConstructor | undefined;
  /** For calls over HTTP; the global one by default. */
  readonly fetch?: typeof fetch;
  readonly clock?: Clock;
  /** Makes the ids of commands; `crypto.randomUUID` by default. */
  readonly newId?: () => string;
}

/** Real time and randomness. */
export const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  setTimeout: (call, ms) => setTimeout(call, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  random: Math.random,
};
