/** Stores over a client whose other end is the test; no React. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Message } from "../../src/notices.js";
import { type ChannelState, ChannelStore } from "../../stores/channel.js";
import { storesOf } from "../../stores/stores.js";
import { UNKNOWN_TASK } from "../../stores/task-view.js";
import { type Connected, connected, greeting, HEAD } from "../connected.js";
import { settled } from "../fake-clock.js";
import type { FakeSocket } from "../fake-socket.js";
import { answer, event, output, subscribes } from "./served.js";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

const noop = (): void => {};
const frame = (): void => void vi.advanceTimersByTime(20);

async function following(
  options = {},
): Promise<Connected & { store: ChannelStore; told: ChannelState[]; off(): void }> {
  const made = await connected();
  const store = new ChannelStore(made.client, "task:t", { after: "earliest", ...options });
  const told: ChannelState[] = [];
  const off = store.subscribe(() => told.push(store.get()));
  answer(made.socket);
  return { ...made, store, told, off };
}

describe("a channel", () => {
  test("is told once a frame, in order, with nothing left out", async () => {
    const { socket, store, told } = await following();
    frame();
    told.length = 0;
    for (let offset = 0; offset < 30; offset += 1) socket.receive(event(offset));
    expect(told).toEqual([]);
    frame();
    expect(told.length).toBe(1);
    expect(store.get().events.map(({ offset }) => offset)).toEqual([...Array(30).keys()]);
    expect(store.get()).toBe(store.get());
  });

  test("a page whose frames are long is told before anything is dropped", async () => {
    const { socket, told } = await following({ limit: 10 });
    for (let offset = 0; offset < 95; offset += 1) socket.receive(event(offset));
    frame();
    const seen: number[] = [];
    let count = 0;
    for (const { events, dropped } of told) {
      seen.push(...events.slice(Math.max(0, count - dropped)).map(({ offset }) => offset));
      count = dropped + events.length;
    }
    expect(seen).toEqual([...Array(95).keys()]);
    expect(told.every(({ events }) => events.length <= 10)).toBe(true);
  });

  test("tells when it has caught up, of gaps, and of its end", async () => {
    const { socket, store } = await following();
    frame();
    expect(store.get()).toMatchObject({ state: "catching_up", isCaughtUp: false });
    socket.receive({
      type: "gap",
      channels: ["task:t"],
      requested: "k3f9:0=-1,1=-1",
      earliest: HEAD,
      reason: "retention",
    });
    socket.receive({ type: "caught_up", channels: ["task:t"], position: HEAD });
    frame();
    expect(store.get()).toMatchObject({ state: "live", isCaughtUp: true, gaps: [{ reason: "retention" }] });
    socket.end(1006);
    frame();
    expect(store.get()).toMatchObject({ state: "idle", isCaughtUp: false });
  });

  test("that may be read no more says why, and is not asked for again", async () => {
    const { socket, store, off } = await following();
    socket.receive({ type: "unsubscribed", channel: "task:t", reason: "rights" });
    expect(store.get()).toMatchObject({ state: "ended", isCaughtUp: false, error: { reason: "rights" } });
    off();
    vi.advanceTimersByTime(1);
    store.subscribe(noop);
    expect(subscribes(socket).length).toBe(1);
  });

  test("whoever comes back within the turn has left nothing", async () => {
    const { socket, store, off } = await following();
    off();
    store.subscribe(noop);
    vi.advanceTimersByTime(1);
    expect(subscribes(socket).length).toBe(1);
    expect(socket.sent.some(({ type }) => type === "unsubscribe")).toBe(false);
  });

  test("whoever comes back later goes on where it was left", async () => {
    const { socket, store, off } = await following();
    socket.receive(event(10));
    off();
    vi.advanceTimersByTime(1);
    expect(socket.sent.at(-1)).toMatchObject({ type: "unsubscribe", channel: "task:t" });
    store.subscribe(noop);
    expect(subscribes(socket).at(-1)).toMatchObject({ after: "k3f9:0=10,1=-1" });
    answer(socket);
    for (const offset of [9, 10, 11]) socket.receive(event(offset));
    frame();
    expect(store.get().events.map(({ offset }) => offset)).toEqual([10, 11]);
  });

  test("goes on over a connection that broke", async () => {
    const { socket, sockets, clock, store } = await following();
    for (const offset of [10, 11]) socket.receive(event(offset));
    socket.end(1006);
    await clock.advance(1_000);
    const next = sockets[1] as FakeSocket;
    next.open();
    next.receive(greeting());
    await settled();
    answer(next);
    for (const offset of [11, 12]) next.receive(event(offset));
    frame();
    expect(store.get().events.map(({ offset }) => offset)).toEqual([10, 11, 12]);
  });
});

describe("what is shared", () => {
  test("the same is followed once, and anew for whoever comes when nobody is there", async () => {
    const { client, socket } = await connected();
    const stores = storesOf(client);
    expect(storesOf(client)).toBe(stores);
    const first = stores.channel("task:t", { last: 5 });
    expect(stores.channel("task:t", { last: 5 })).toBe(first);
    expect(stores.channel("task:t", { last: 6 })).not.toBe(first);
    first.subscribe(noop)();
    vi.advanceTimersByTime(1);
    expect(stores.channel("task:t", { last: 5 })).not.toBe(first);
    expect(subscribes(socket).length).toBe(1);
  });

  test("without a channel nothing is asked for", async () => {
    const { client, socket } = await connected();
    const sent = socket.sent.length;
    storesOf(client).channel(undefined).subscribe(noop);
    storesOf(client).task(undefined).subscribe(noop);
    storesOf(client).presence(undefined).subscribe(noop);
    expect(socket.sent.length).toBe(sent);
  });
});

describe("a task", () => {
  test("is followed from its start: state, output and events", async () => {
    const { client, socket } = await connected();
    const store = storesOf(client).task("t", "p");
    store.subscribe(noop);
    expect(subscribes(socket)).toMatchObject([{ channel: "task:t", after: "earliest" }]);
    answer(socket);
    const of = { project_id: "p" };
    socket.receive(event(0, { ...of, type: "task_started" }));
    socket.receive(output(1, 0, "Grüße\n", of));
    socket.receive(output(2, 0, "not of it", { project_id: "q" }));
    socket.receive(event(3, { ...of, type: "task_progress_update", data: { percent: 50 } }));
    socket.receive(output(4, 8, "more\n", of));
    socket.receive(event(5, { ...of, type: "task_screen", data: {} }));
    socket.receive(event(6, { ...of, type: "task_completed", data: { exit_code: 0 } }));
    const { view, output: written, events, state } = store.get();
    expect(view).toMatchObject({ status: "completed", progress: { percent: 50 }, result: { exit_code: 0 } });
    expect([written.text(), written.missing, state]).toEqual(["Grüße\nmore\n", 0, "ended"]);
    expect(events.map(({ type }) => type)).toEqual([
      "task_started",
      "task_progress_update",
      "task_completed",
    ]);
  });

  test("what a state says already is shown and not folded again, until the log is another", async () => {
    const { client, socket } = await connected();
    const of = { project_id: "p" };
    const view = { ...UNKNOWN_TASK, projectId: "p", started: true, status: "running" as const };
    const store = storesOf(client).task("t", undefined, { after: "earliest", view, viewAt: "k3f9:0=2,1=-1" });
    store.subscribe(noop);
    answer(socket);
    socket.receive(output(0, 0, "all of it", of));
    socket.receive(event(1, { ...of, type: "task_paused" }));
    socket.receive(event(2, { ...of, type: "task_resumed" }));
    frame();
    expect(store.get()).toMatchObject({
      view: { status: "running" },
      events: [{ offset: 1 }, { offset: 2 }],
    });
    expect(store.get().output.text()).toBe("all of it");
    socket.receive(event(3, { ...of, type: "task_paused" }));
    frame();
    expect(store.get().view.status).toBe("paused");
    socket.receive({
      type: "gap",
      channels: ["task:t"],
      requested: "k3f9:0=3,1=-1",
      earliest: "k3fa:0=-1,1=-1",
      reason: "epoch",
    });
    socket.receive(event(0, { ...of, type: "task_resumed" }));
    frame();
    expect(store.get().view.status).toBe("running");
  });

  test("of another project that had the name before, nothing is left", async () => {
    const { client, socket } = await connected();
    const store = storesOf(client).task("t");
    store.subscribe(noop);
    answer(socket);
    socket.receive(output(0, 0, "early", { project_id: "q" }));
    socket.receive(event(1, { type: "task_started", project_id: "p" }));
    socket.receive(output(2, 0, "its own", { project_id: "p" }));
    frame();
    expect(store.get().output.text()).toBe("its own");
  });
});

describe("presence", () => {
  test("is asked on each connection and every so often, and told when it changes", async () => {
    const { client, socket } = await connected();
    const store = storesOf(client).presence("project:p", { pollMs: 1_000 });
    const told = vi.fn();
    const off = store.subscribe(told);
    const asked = (): Message[] => socket.sent.filter(({ type }) => type === "presence");
    const say = async (users: string[]): Promise<void> => {
      socket.receive({ type: "presence_result", channel: "project:p", users, ref: asked().at(-1)?.ref });
      await settled();
    };
    await say(["ann"]);
    expect(store.get()).toEqual({ users: ["ann"], isKnown: true, error: undefined });
    vi.advanceTimersByTime(1_000);
    await say(["ann"]);
    vi.advanceTimersByTime(1_000);
    await say(["ann", "ben"]);
    expect(told).toHaveBeenCalledTimes(2);
    off();
    vi.advanceTimersByTime(10_000);
    expect(asked().length).toBe(3);
  });

  test("that is refused is not asked for again on the same connection", async () => {
    const { client, socket } = await connected();
    const store = storesOf(client).presence("system", { pollMs: 1_000 });
    store.subscribe(noop);
    const asked = socket.sent.filter(({ type }) => type === "presence");
    socket.receive({ type: "error", code: "forbidden", message: "not yours", ref: asked[0]?.ref });
    await settled();
    expect(store.get()).toMatchObject({ isKnown: false, error: { code: "forbidden" } });
    const sent = socket.sent.length;
    vi.advanceTimersByTime(10_000);
    expect(socket.sent.length).toBe(sent);
  });
});
