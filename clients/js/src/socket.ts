/** One WebSocket connection: opened, watched for silence, its messages handed on one by one. */

import type { Message } from "./notices.js";
import type { Clock, SocketConstructor, SocketLike } from "./options.js";

const SUBPROTOCOL = "lastseen.v1";
const OPEN_MS = 15_000;
const PROBE_MS = 5_000;
/** Heartbeats that may be missed before the connection counts as dead. */
const SILENCE = 2;
const OPEN = 1;

export interface SocketPort {
  readonly opened: () => void;
  readonly message: (message: Message) => void;
  /** It is over, once. `dropped`: this side gave it up. */
  readonly closed: (code: number, reason: string, dropped: boolean) => void;
}

/** The address of the WebSocket of a service. Throws a TypeError for an address that can't work. */
export function socketUrl(url: string, query: Readonly<Record<string, string | undefined>>): string {
  if (!/^(http|ws)s?:\/\/./.test(url)) {
    throw new TypeError(`"${url}" is no address of a service: use http://HOST:PORT or https://HOST`);
  }
  const address = new URL(url.replace("http", "ws"));
  address.pathname = `${address.pathname.replace(/\/$/, "")}/ws`;
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) address.searchParams.set(name, value);
  }
  return address.href;
}

export class Socket {
  readonly #socket: SocketLike;
  readonly #port: SocketPort;
  readonly #clock: Clock;
  #heard: number;
  #allowed = OPEN_MS;
  #timer: unknown;
  #isOver = false;

  constructor(WebSocket: SocketConstructor, url: string, token: string, port: SocketPort, clock: Clock) {
    this.#port = port;
    this.#clock = clock;
    this.#heard = clock.now();
    this.#socket = new WebSocket(url, [SUBPROTOCOL, `bearer.${token}`]);
    this.#socket.onopen = (): void => {
      if (!this.#isOver) port.opened();
    };
    this.#socket.onmessage = (event: { data: unknown }): void => this.#receive(event.data);
    this.#socket.onclose = ({ code, reason }: { code: number; reason: string }): void =>
      this.#end(code, reason);
    // A close follows it.
    this.#socket.onerror = (): void => {};
    this.#watch(OPEN_MS);
  }

  /** Whether it was sent: it is dropped where the connection does not stand. */
  send(message: Message): boolean {
    if (this.#isOver || this.#socket.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** The server's heartbeat, as its greeting names it. */
  beat(heartbeatMs: number): void {
    this.#allowed = SILENCE * heartbeatMs;
  }

  /** Nobody knows whether it still stands: give it up unless the server says something soon. */
  probe(): void {
    if (!this.send({ type: "ping" })) return;
    this.#clock.clearTimeout(this.#timer);
    const asked = this.#clock.now();
    this.#timer = this.#clock.setTimeout(() => {
      if (this.#heard <= asked) this.drop("the server did not answer");
      else this.#watch(0);
    }, PROBE_MS);
  }

  /** Close it; nothing of it is handed on any more. */
  close(): void {
    this.#release();
    this.#socket.close(1000);
  }

  /** Give it up: a line that is dead would take minutes to close. */
  drop(reason: string): void {
    // Told at once; what the socket says of its end comes later, and counts for nothing.
    this.#end(1006, reason, true);
    this.#socket.close();
  }

  #receive(data: unknown): void {
    if (this.#isOver) return;
    this.#heard = this.#clock.now();
    let message: unknown;
    try {
      message = JSON.parse(String(data));
    } catch {
      // said below
    }
    if (typeof (message as Partial<Message> | null | undefined)?.type === "string") {
      this.#port.message(message as Message);
    } else {
      this.drop("a message of the server was not understood");
    }
  }

  #watch(ms: number): void {
    this.#timer = this.#clock.setTimeout(() => {
      const silent = this.#clock.now() - this.#heard;
      if (silent >= this.#allowed) this.drop(`the server was silent for ${Math.round(silent / 1000)} s`);
      else this.#watch(this.#allowed - silent);
    }, ms);
  }

  #end(code: number, reason: string, dropped = false): void {
    if (this.#isOver) return;
    this.#release();
    this.#port.closed(code, reason, dropped);
  }

  #release(): void {
    this.#isOver = true;
    this.#clock.clearTimeout(this.#timer);
  }
}
