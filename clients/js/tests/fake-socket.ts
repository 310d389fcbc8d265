/** A WebSocket whose other end is the test. */

import type { Message } from "../src/notices.js";
import type { SocketConstructor, SocketLike } from "../src/options.js";

export class FakeSocket implements SocketLike {
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readyState = 0;
  readonly url: URL;
  readonly protocols: readonly string[];
  readonly sent: Message[] = [];
  /** Told of what the client sends. */
  onsent: (message: Message) => void = () => {};

  constructor(url: string, protocols: readonly string[]) {
    this.url = new URL(url);
    this.protocols = protocols;
  }

  get after(): string | null {
    return this.url.searchParams.get("after");
  }

  send(data: string): void {
    if (this.readyState !== 1) throw new Error("not open");
    const message = JSON.parse(data) as Message;
    this.sent.push(message);
    this.onsent(message);
  }

  close(): void {
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.({} as never);
  }

  receive(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) } as never);
  }

  end(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason } as never);
  }
}

/** A constructor whose sockets are handed to `made`. */
export function socketsFor(made: (socket: FakeSocket) => void): SocketConstructor {
  return class extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      made(this);
    }
  };
}
