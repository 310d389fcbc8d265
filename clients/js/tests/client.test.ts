/** What a page sees of a client: connections that come and go, commands, renewal, slow iterators, storage. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocketClient } from "../src/client.js";
import type { LastseenError } from "../src/errors.js";
import { events } from "../src/event-stream.js";
import type { LastseenEvent } from "../src/events.js";
import type { Message } from "../src/notices.js";
import { connected, connecting, greeting, HEAD } from "./connected.js";
import { settled } from "./fake-clock.js";
import type { FakeSocket } from "./fake-socket.js";

const START = "k3f9:0=-1,1=-1";

function event(offset: number, more: object = {}): object {
  const channels = ["task:t"];
  return {
    id: `e${offset}`,
    type: "task_output",
    task_id: "t",
    channels,
    data: {},
    partition: 0,
    offset,
    ...more,
  };
}

const last = (socket: FakeSocket, type: string): Message =>
  socket.sent.filter((message) => message.type === type).at(-1) as Message;

/** The server confirms the latest subscribe of the channel, from its start. */
function confirm(socket: FakeSocket, channel = "task:t"): void {
  const { ref, after } = socket.sent
    .filter((m) => m.type === "subscribe" && m.channel === channel)
    .at(-1) as Message;
  socket.receive({ type: "subscription_result", channel, subscribed: true, position: after ?? HEAD, ref });
}

describe("connecting", () => {
  test("says who it is in the subprotocols, and where it was in the address", async () => {
    const { client, socket, sockets, clock } = await connected({ projectId: "p", clientId: "phone" });
    expect(socket.url.href).toBe("ws://lastseen.test/ws?project_id=p&client_id=phone");
    expect(socket.protocols).toEqual(["lastseen.v1", "bearer.a.b.c"]);
    expect(client.state).toBe("connected");
    expect(client.userId).toBe("ann");
    socket.receive({ type: "ping", position: HEAD });
    socket.end(1006);
    await clock.advance(1_000);
    expect(sockets[1]?.url.searchParams.get("after")).toBe(HEAD);
  });

  test("an address that can't work is told at once", () => {
    expect(() => new WebSocketClient({ url: "ftp://x", token: "t" })).toThrow("is no address of a service");
  });

  test.each([
    [1006, "", "reconnecting"],
    [1001, "Server is going away, come back within 500 ms", "reconnecting"],
    [4408, "Heartbeat timeout", "reconnecting"],
    [1008, "Origin not allowed", "failed"],
    [1008, "Invalid token", "failed"],
    [4401, "Token expired", "failed"],
    [1009, "", "failed"],
  ] as const)("after a close with %i %s it is %s", async (code, reason, state) => {
    const { client, socket } = await connected();
    const failures: LastseenError[] = [];
    client.on("reconnect_failed", (error) => failures.push(error));
    socket.end(code, reason);
    expect(client.state).toBe(state);
    expect(failures.length).toBe(state === "failed" ? 1 : 0);
  });

  test("the window that a 1001 names is honoured", async () => {
    const { client, socket } = await connected();
    const delays: number[] = [];
    client.on("reconnecting", ({ delayMs }) => delays.push(delayMs));
    socket.end(1001, "Server is going away, come back within 60000 ms");
    expect(delays).toEqual([30_000]);
  });

  test("the back-off doubles up to its cap, and ends after so many attempts", async () => {
    const { client, clock, sockets, socket } = await connecting({
      maxReconnectAttempts: 4,
      reconnectDelay: { base: 1_000, cap: 3_000 },
    });
    const delays: number[] = [];
    client.on("reconnecting", ({ delayMs }) => delays.push(delayMs));
    const failed = client.connect();
    socket.end(1006);
    for (let n = 1; n <= 4; n += 1) {
      await clock.advance(3_000);
      sockets[n]?.end(1006);
    }
    expect(delays).toEqual([500, 1_000, 1_500, 1_500]);
    expect(client.state).toBe("failed");
    await expect(failed).rejects.toMatchObject({ code: "closed" });
    expect(clock.waiting, "timers left").toBe(0);
  });

  test("without autoReconnect a broken connection stays broken", async () => {
    const { client, socket, sockets, clock } = await connected({ autoReconnect: false });
    const told: boolean[] = [];
    client.on("disconnected", ({ willReconnect }) => told.push(willReconnect));
    socket.end(1006);
    await clock.advance(100_000);
    expect([client.state, sockets.length, told]).toEqual(["idle", 1, [false]]);
  });

  test("a refused token is renewed once", async () => {
    let made = 0;
    const { client, clock, sockets, socket } = await connecting({ token: () => `a.b.${++made}` });
    socket.open();
    socket.end(1008, "Invalid token");
    await clock.advance(1_000);
    expect(sockets[1]?.protocols[1]).toBe("bearer.a.b.2");
    sockets[1]?.end(1008, "Invalid token");
    expect(client.state).toBe("failed");
    expect(client.connectionError?.code).toBe("authentication");
  });

  test("a token that can't be had is asked for again", async () => {
    let fails = true;
    const token = (): string => {
      if (fails) throw new Error("offline");
      return "a.b.c";
    };
    const { client, clock, sockets } = await connecting({ token });
    expect(client.state).toBe("reconnecting");
    fails = false;
    await clock.advance(1_000);
    expect(sockets.length).toBe(1);
  });

  test("a silent server is given up after twice its heartbeat", async () => {
    const { client, clock, socket } = await connected();
    await clock.advance(30_000);
    socket.receive({ type: "ping", position: HEAD });
    await clock.advance(59_000);
    expect(client.state).toBe("connected");
    await clock.advance(1_000);
    expect(client.state).toBe("reconnecting");
    expect(socket.readyState).toBe(3);
  });

  test("disconnect leaves nothing behind, and connect goes on", async () => {
    const { client, clock, socket, sockets } = await connected();
    const got: string[] = [];
    client.subscribe("task:t", { after: START, onEvent: ({ id }) => got.push(id) });
    confirm(socket);
    socket.receive(event(3, { replay: ["task:t"] }));
    client.disconnect();
    expect([client.state, clock.waiting]).toEqual(["idle", 0]);
    void client.connect();
    await settled();
    sockets[1]?.open();
    expect(last(sockets[1] as FakeSocket, "subscribe").after).toBe("k3f9:0=3,1=-1");
    expect(got).toEqual(["e3"]);
  });
});

describe("a page that may have been cut off", () => {
  afterEach(() => void vi.unstubAllGlobals());

  function page(): EventTarget & { document: { visibilityState: string } } {
    const hears = Object.assign(new EventTarget(), { document: { visibilityState: "visible" } });
    vi.stubGlobal("addEventListener", hears.addEventListener.bind(hears));
    vi.stubGlobal("document", hears.document);
    return hears;
  }

  test.each(["online", "visibilitychange"])("leaves a line that does not answer, after %s", async (name) => {
    const hears = page();
    const { client, clock, socket } = await connected();
    await clock.advance(1_000);
    hears.dispatchEvent(new Event(name));
    expect(last(socket, "ping")).toEqual({ type: "ping" });
    await clock.advance(4_000);
    expect(client.state).toBe("connected");
    await clock.advance(1_000);
    expect([client.state, socket.readyState]).toEqual(["reconnecting", 3]);
  });

  test("keeps one that does, and watches it on", async () => {
    const hears = page();
    const { client, clock, socket } = await connected();
    for (let n = 0; n < 3; n += 1) hears.dispatchEvent(new Event("online"));
    await clock.advance(1_000);
    socket.receive({ type: "pong", timestamp: "" });
    await clock.advance(59_000);
    expect(client.state).toBe("connected");
    await clock.advance(1_000);
    expect(client.state).toBe("reconnecting");
  });

  test("comes back at once where it was waiting, and is let alone while it is hidden", async () => {
    const hears = page();
    const { client, socket, sockets } = await connected();
    hears.document.visibilityState = "hidden";
    hears.dispatchEvent(new Event("visibilitychange"));
    expect(socket.sent.some(({ type }) => type === "ping")).toBe(false);
    socket.end(1006);
    hears.document.visibilityState = "visible";
    hears.dispatchEvent(new Event("visibilitychange"));
    await settled();
    expect([client.state, sockets.length]).toEqual(["connecting", 2]);
    client.disconnect();
    hears.dispatchEvent(new Event("online"));
    await settled();
    expect([client.state, sockets.length]).toEqual(["idle", 2]);
  });
});

describe("the token", () => {
  test("is renewed on the open connection", async () => {
    let made = 0;
    const { clock, socket } = await connected({ token: () => `a.b.${++made}` });
    socket.receive({ type: "token_expiring", expires_at: "2026-01-31T12:00:00Z" });
    const renewed = { type: "authenticate", token: "a.b.2", ref: "authenticate" };
    await vi.waitFor(() => expect(last(socket, "authenticate")).toEqual(renewed));
    socket.receive({ type: "error", code: "unavailable", message: "", retry_after: 1, ref: "authenticate" });
    await clock.advance(5_000);
    expect(last(socket, "authenticate").token).toBe("a.b.3");
    socket.receive({ type: "authentication_result", authenticated: true, ref: "authenticate" });
    await clock.advance(20_000);
    expect(socket.sent.filter(({ type }) => type === "authenticate").length).toBe(2);
    socket.receive({ type: "token_expiring", expires_at: "2026-01-31T13:00:00Z" });
    await vi.waitFor(() => expect(last(socket, "authenticate").token).toBe("a.b.4"));
  });

  test("of a connection that has ended is not renewed", async () => {
    let made = 0;
    const { client, clock, socket } = await connected({ token: () => `a.b.${++made}` });
    socket.receive({ type: "token_expiring", expires_at: "2026-01-31T12:00:00Z" });
    await vi.waitFor(() => expect(last(socket, "authenticate").token).toBe("a.b.2"));
    client.disconnect();
    await clock.advance(60_000);
    expect([made, clock.waiting]).toEqual([2, 0]);
  });
});

describe("commands", () => {
  test("go on with the same id over a broken connection", async () => {
    const { client, clock, socket, sockets } = await connected({ newId: () => "made" });
    const result = client.sendTaskInput("t", "y\n");
    const { ref, ...sent } = last(socket, "task_input");
    expect(sent).toEqual({ type: "task_input", task_id: "t", id: "made", input: "y\n" });
    socket.end(1006);
    await clock.advance(1_000);
    const again = sockets[1] as FakeSocket;
    again.open();
    expect(last(again, "task_input")).toEqual({ ...sent, ref });
    again.receive({
      type: "input_result",
      task_id: "t",
      id: "made",
      success: true,
      state: "applied",
      reason: null,
      ref,
    });
    expect(await result).toEqual({ id: "made", taskId: "t", success: true, state: "applied", reason: null });
  });

  test("what passes is asked again, what does not rejects", async () => {
    const { client, clock, socket } = await connected();
    const result = client.cancelTask("t");
    const { ref } = last(socket, "task_cancel");
    socket.receive({ type: "error", code: "unavailable", message: "", retry_after: 2, ref });
    await clock.advance(2_000);
    expect(socket.sent.filter(({ type }) => type === "task_cancel").length).toBe(2);
    socket.receive({ type: "error", code: "access_denied", message: "Task access denied", ref });
    await expect(result).rejects.toMatchObject({ code: "access_denied", message: "Task access denied" });
  });

  test("without an answer the result is unknown", async () => {
    const { client, clock } = await connected();
    const result = client.pauseTask("t", { timeoutMs: 5_000, id: "p" });
    await clock.advance(5_000);
    expect(await result).toEqual({
      id: "p",
      taskId: "t",
      success: false,
      state: "unknown",
      reason: "timeout",
    });
  });

  test("a receipt on the task's channel tells as well", async () => {
    const { client, socket } = await connected();
    client.subscribeToTask("t", { after: START });
    confirm(socket);
    const result = client.cancelTask("t", { id: "k" });
    const data = {
      command_id: "k",
      command: "task_cancel",
      by: "ann",
      state: "rejected",
      reason: "task_ended",
    };
    socket.receive(event(1, { type: "task_command", data, replay: ["task:t"] }));
    expect(await result).toMatchObject({ success: false, state: "rejected", reason: "task_ended" });
  });
});

describe("channels", () => {
  test("several follow one channel, each from a start of its own", async () => {
    const { client, socket } = await connected();
    const first: string[] = [];
    const second: string[] = [];
    const all: string[] = [];
    client.on("task_output", ({ id }) => all.push(id));
    client.subscribe("task:t", { onEvent: ({ id }) => first.push(id) });
    confirm(socket);
    socket.receive(event(10));
    client.subscribe("task:t", { after: START, onEvent: ({ id }) => second.push(id) });
    confirm(socket);
    for (const offset of [5, 10, 11]) socket.receive(event(offset, { replay: ["task:t"] }));
    expect([first, second, all]).toEqual([
      ["e10", "e11"],
      ["e5", "e10", "e11"],
      ["e10", "e5", "e11"],
    ]);
  });

  test("a channel that may not be read ends with the reason", async () => {
    const { client, socket } = await connected();
    const ends: unknown[] = [];
    client.subscribe("task:t", { onEnd: (error) => ends.push(error?.code) });
    const stream = events(client, "task:t");
    const { ref } = last(socket, "subscribe");
    socket.receive({
      type: "error",
      code: "access_denied",
      message: "Channel access denied",
      channel: "task:t",
      ref,
    });
    expect(ends).toEqual(["access_denied"]);
    await expect(stream.next()).rejects.toMatchObject({ code: "access_denied", channel: "task:t" });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  test("a task that has ended ends its iteration", async () => {
    const { client, socket } = await connected();
    const stream = events(client, "task:t", { after: START });
    confirm(socket);
    socket.receive(event(1, { replay: ["task:t"] }));
    socket.receive(event(2, { type: "task_completed", replay: ["task:t"] }));
    const got: string[] = [];
    for await (const { id } of stream) got.push(id);
    expect(got).toEqual(["e1", "e2"]);
    expect(last(socket, "unsubscribe")).toMatchObject({ channel: "task:t" });
  });

  test("a slow iterator lets the channel rest, and goes on where it was", async () => {
    const { client, socket } = await connected();
    const stream = events(client, "task:t", { after: START, maxBuffered: 4 });
    confirm(socket);
    for (let offset = 1; offset <= 9; offset += 1) socket.receive(event(offset, { replay: ["task:t"] }));
    expect(socket.sent.filter(({ type }) => type === "unsubscribe").length).toBe(1);
    const got: (LastseenEvent | undefined)[] = [];
    for (let n = 0; n < 2; n += 1) got.push((await stream.next()).value);
    expect(last(socket, "subscribe").after).toBe("k3f9:0=4,1=-1");
    socket.receive({
      type: "unsubscription_result",
      channel: "task:t",
      unsubscribed: true,
      ref: last(socket, "unsubscribe").ref,
    });
    confirm(socket);
    for (let offset = 5; offset <= 6; offset += 1) socket.receive(event(offset, { replay: ["task:t"] }));
    for (let n = 0; n < 4; n += 1) got.push((await stream.next()).value);
    expect(got.map((one) => one?.offset)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("leaving the loop leaves the channel", async () => {
    const { client, socket } = await connected();
    const stream = events(client, "task:t", { after: START });
    confirm(socket);
    socket.receive(event(1, { replay: ["task:t"] }));
    for await (const _ of stream) break;
    expect(last(socket, "unsubscribe").channel).toBe("task:t");
    expect(stream.state).toBe("ended");
  });

  test("a slow iterator that leaves gives an automatic channel back, from where it was", async () => {
    const { client, socket } = await connected();
    const stream = events(client, "broadcast", { maxBuffered: 4 });
    for (const offset of [10, 11, 12, 13]) socket.receive(event(offset, { channels: ["broadcast"] }));
    expect(last(socket, "unsubscribe").channel).toBe("broadcast");
    await stream.next();
    await stream.return();
    expect(last(socket, "subscribe")).toMatchObject({ channel: "broadcast", after: "k3f9:0=10,1=9" });
  });

  test("a handler that throws harms nobody else", async () => {
    const { client, socket } = await connected();
    const errors: unknown[] = [];
    const got: string[] = [];
    client.on("error", ({ code, cause }) => errors.push([code, cause]));
    client.on("task_output", () => {
      throw "broken";
    });
    client.on("task_output", ({ id }) => got.push(id));
    client.subscribe("task:t");
    confirm(socket);
    socket.receive(event(10));
    expect([got, errors]).toEqual([["e10"], [["handler", "broken"]]]);
  });

  test("once, off and emit", async () => {
    const { client } = await connected();
    const got: number[] = [];
    const handler = (value: unknown): void => void got.push(value as number);
    client.once("mine", handler);
    client.on("yours", handler);
    expect([client.emit("mine", 1 as never), client.emit("mine", 2 as never)]).toEqual([true, false]);
    client.off("yours", handler);
    client.emit("yours", 3 as never);
    expect(got).toEqual([1]);
  });

  test("a producer's event that is named like one of the client's own goes to `message` alone", async () => {
    const { client, socket } = await connected();
    const errors: unknown[] = [];
    const messages: unknown[] = [];
    client.on("error", (error) => errors.push(error));
    client.on("message", ({ type }) => messages.push(type));
    client.subscribe("task:t");
    confirm(socket);
    socket.receive(event(10, { type: "error" }));
    expect([errors, messages]).toEqual([[], ["error"]]);
  });
});

describe("what came to the user", () => {
  const away = greeting({ subscriptions: [{ channel: "user:ann", position: START, live: false }] });
  const mine = event(1, { type: "user_notification", channels: ["user:ann"], replay: ["user:ann"] });
  const end = { type: "caught_up", channels: ["user:ann"], position: HEAD };
  const ping = { type: "ping", position: HEAD };

  test.each([
    ["somebody takes it", true, true, "pong"],
    ["nobody takes it", false, true, "ping"],
    ["the page confirms by itself", true, false, "ping"],
  ])("is confirmed or not: %s", async (_, isRead, autoAck, answer) => {
    const { client, socket } = await connecting({ autoAck });
    if (isRead) client.on("user_notification", () => {});
    socket.open();
    for (const message of [away, mine, end, ping]) socket.receive(message);
    expect(socket.sent.at(-1)?.type).toBe(answer);
  });

  test("is not confirmed while some of it waits for an iterator", async () => {
    const { client, socket } = await connecting();
    const stream = events(client, "user:ann");
    socket.open();
    socket.receive(away);
    for (const message of [mine, end, ping]) socket.receive(message);
    expect(socket.sent.at(-1)?.type).toBe("ping");
    await stream.next();
    socket.receive(ping);
    expect(socket.sent.at(-1)?.type).toBe("pong");
  });
});

describe("storage", () => {
  test("a page that is loaded anew goes on where the last one was", async () => {
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
    };
    const { client, clock, socket } = await connected({ storage });
    client.subscribe("task:t", { after: START });
    confirm(socket);
    socket.receive(event(4, { replay: ["task:t"] }));
    await clock.advance(500);
    const next = await connecting({ storage });
    next.client.subscribe("task:t");
    next.socket.open();
    expect(last(next.socket, "subscribe").after).toBe("k3f9:0=4,1=-1");
  });

  test("what is not ours to read is passed over", async () => {
    const storage = { getItem: () => "{broken", setItem: () => {} };
    const { client } = await connected({ storage });
    expect(client.state).toBe("connected");
  });
});
