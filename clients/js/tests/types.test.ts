/** What the types promise; `tsc` holds them, so a wrong one does not compile. */

import { expectTypeOf, test } from "vitest";
import { type EventStream, events } from "../src/event-stream.js";
import type {
  ClientState,
  CommandResult,
  LastseenError,
  LastseenEvent,
  TaskOutputEvent,
  WebSocketClient,
} from "../src/index.js";
import { type Input, type SubscriptionState, TRANSITIONS } from "../src/transitions.js";

test("handlers get the event of their type", () => {
  const holds = (client: WebSocketClient): void => {
    client.on("task_output", (event) => {
      expectTypeOf(event).toEqualTypeOf<TaskOutputEvent>();
      expectTypeOf(event.data.offset).toBeNumber();
      expectTypeOf(event.task_id).toBeString();
    });
    client.on("task_output", (event: TaskOutputEvent) => void event);
    client.on("state", (state) => expectTypeOf(state).toEqualTypeOf<ClientState>());
    client.on("error", (error) => expectTypeOf(error).toEqualTypeOf<LastseenError>());
    client.on("deploy_started", (event) => expectTypeOf(event.type).toEqualTypeOf<"deploy_started">());
    // @ts-expect-error: the state is no number
    client.on("state", (state: number) => void state);
    // @ts-expect-error: a command needs its text
    void client.sendTaskInput("t");
    expectTypeOf(client.cancelTask("t")).toEqualTypeOf<Promise<CommandResult>>();
    expectTypeOf(events(client, "task:t")).toEqualTypeOf<EventStream>();
    expectTypeOf<EventStream>().toMatchTypeOf<AsyncIterable<LastseenEvent>>();
  };
  expectTypeOf(holds).toBeFunction();
});

test("a table with a cell missing does not compile", () => {
  const { ping: _, ...lacking } = TRANSITIONS.live;
  type Table = { readonly [S in SubscriptionState]: { readonly [I in Input]: unknown } };
  expectTypeOf<typeof TRANSITIONS>().toMatchTypeOf<Table>();
  expectTypeOf({ ...TRANSITIONS, live: lacking }).not.toMatchTypeOf<Table>();
});
