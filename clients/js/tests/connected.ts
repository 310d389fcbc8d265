/** A client whose connection stands, and the other end of it. */

import { WebSocketClient } from "../src/client.js";
import type { ClientOptions } from "../src/options.js";
import { FakeClock, settled } from "./fake-clock.js";
import { type FakeSocket, socketsFor } from "./fake-socket.js";

export const HEAD = "k3f9:0=9,1=9";

export function greeting(more: object = {}): object {
  return {
    type: "connection_established",
    connection_id: "c1",
    user_id: "ann",
    node: "node-1",
    heartbeat_seconds: 30,
    subscriptions: [
      { channel: "user:ann", position: HEAD, live: true },
      { channel: "broadcast", position: HEAD, live: true },
    ],
    ...more,
  };
}

export interface Connected {
  readonly client: WebSocketClient;
  readonly clock: FakeClock;
  /** Every socket that was made; `socket` is the first. */
  readonly sockets: FakeSocket[];
  readonly socket: FakeSocket;
}

/** A client, and its first socket, which is not open yet. */
export async function connecting(options: Partial<ClientOptions> = {}): Promise<Connected> {
  const clock = new FakeClock();
  const sockets: FakeSocket[] = [];
  const client = new WebSocketClient({
    url: "http://lastseen.test",
    token: "a.b.c",
    clock,
    WebSocket: socketsFor((socket) => sockets.push(socket)),
    ...options,
  });
  void client.connect();
  await settled();
  return { client, clock, sockets, socket: sockets[0] as FakeSocket };
}

export async function connected(options: Partial<ClientOptions> = {}): Promise<Connected> {
  const made = await connecting(options);
  made.socket.open();
  made.socket.receive(greeting());
  await settled();
  return made;
}
