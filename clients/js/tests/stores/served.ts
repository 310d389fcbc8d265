/** What the other end of a client says in these tests. */

import type { Message } from "../../src/notices.js";
import type { FakeSocket } from "../fake-socket.js";

export function event(offset: number, more: object = {}): object {
  const place = { partition: 0, offset, replay: ["task:t"] };
  return {
    id: `e${offset}`,
    type: "task_x",
    task_id: "t",
    project_id: null,
    channels: ["task:t"],
    data: {},
    ...place,
    ...more,
  };
}

export function output(offset: number, at: number, text: string, more: object = {}): object {
  const bytes = new TextEncoder().encode(text).length;
  return event(offset, { type: "task_output", data: { stream: "stdout", offset: at, bytes, text }, ...more });
}

export function subscribes(socket: FakeSocket): Message[] {
  return socket.sent.filter(({ type }) => type === "subscribe");
}

/** Confirms the latest subscribe. */
export function answer(socket: FakeSocket): void {
  const { channel, after, ref } = subscribes(socket).at(-1) as Message;
  const position = after === "earliest" ? "k3f9:0=-1,1=-1" : after;
  socket.receive({ type: "subscription_result", channel, subscribed: true, recovered: true, position, ref });
}
