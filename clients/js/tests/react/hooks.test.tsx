/** The hooks in a document, with React 19 and with React 18. */

import { act, type ReactElement, StrictMode, useEffect, useState, version } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  LastseenProvider,
  type TaskHook,
  useChannel,
  useConnection,
  useEvent,
  usePresence,
  useTaskWebSocket,
  useWebSocket,
} from "../../react/index.js";
import { WebSocketClient } from "../../src/client.js";
import type { Message } from "../../src/notices.js";
import type { ClientOptions } from "../../src/options.js";
import { greeting } from "../connected.js";
import { FakeClock, settled } from "../fake-clock.js";
import { type FakeSocket, socketsFor } from "../fake-socket.js";
import { answer, event, output, subscribes } from "../stores/served.js";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

let root: Root;
let sockets: FakeSocket[];
let options: ClientOptions;
const socket = (): FakeSocket => sockets.at(-1) as FakeSocket;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  sockets = [];
  const WebSocket = socketsFor((made) => sockets.push(made));
  options = { url: "http://lastseen.test", token: "a.b.c", clock: new FakeClock(), WebSocket };
  root = createRoot(document.body.appendChild(document.createElement("div")));
});

afterEach(async () => {
  await act(async () => root.unmount());
  vi.useRealTimers();
});

async function show(element: ReactElement): Promise<void> {
  await act(async () => {
    root.render(element);
    await settled();
  });
}

async function greeted(): Promise<void> {
  await act(async () => {
    socket().open();
    socket().receive(greeting());
    await settled();
  });
}

async function receive(...messages: object[]): Promise<void> {
  await act(async () => {
    for (const message of messages) socket().receive(message);
    vi.advanceTimersByTime(20);
    await settled();
  });
}

test("it runs with the React that is meant", ({ task }) => {
  expect(version.split(".")[0]).toBe(task.file.projectName?.replace("react-", ""));
});

describe("a provider", () => {
  function State(): string {
    return useConnection().state;
  }

  test("in strict mode makes one connection, and ends it when it goes", async () => {
    await show(
      <StrictMode>
        <LastseenProvider options={options}>
          <State />
        </LastseenProvider>
      </StrictMode>,
    );
    vi.advanceTimersByTime(1);
    expect(sockets.length).toBe(1);
    expect(document.body.textContent).toContain("connecting");
    await greeted();
    expect(document.body.textContent).toContain("connected");
    await show(<p />);
    expect(socket().readyState).toBe(1);
    vi.advanceTimersByTime(1);
    expect(socket().readyState).toBe(3);
  });

  test("renders of its parent keep the connection; another address makes another", async () => {
    const App = ({ url }: { url: string }): ReactElement => (
      <LastseenProvider options={{ ...options, url, token: () => "a.b.c" }}>
        <State />
      </LastseenProvider>
    );
    await show(<App url="http://one.test" />);
    await show(<App url="http://one.test" />);
    expect(sockets.length).toBe(1);
    await show(<App url="http://two.test" />);
    vi.advanceTimersByTime(1);
    expect(sockets.map(({ url }) => url.host)).toEqual(["one.test", "two.test"]);
    expect(sockets[0]?.readyState).toBe(3);
  });

  test("a client that is given stays connected", async () => {
    const client = new WebSocketClient(options);
    await show(
      <LastseenProvider client={client}>
        <State />
      </LastseenProvider>,
    );
    await greeted();
    await show(<p />);
    vi.advanceTimersByTime(1);
    expect(client.isConnected).toBe(true);
    client.disconnect();
  });

  test("without one a hook says what to do", async () => {
    const silent = vi.spyOn(console, "error").mockImplementation(() => {});
    const failing = show(<State />);
    await expect(failing).rejects.toThrow("put one around it");
    silent.mockRestore();
    root = createRoot(document.body.appendChild(document.createElement("div")));
  });
});

describe("useTaskWebSocket", () => {
  let task: TaskHook;
  let shown = "";
  let renders = 0;

  function Follow(): null {
    const followed = useTaskWebSocket("t");
    task = followed;
    renders += 1;
    const { output: written } = followed;
    const [seen] = useState({ end: 0 });
    useEffect(() => {
      for (const { data } of written.since(seen.end)) shown += new TextDecoder().decode(data);
      seen.end = written.end;
    }, [written, seen]);
    return null;
  }

  beforeEach(async () => {
    [shown, renders] = ["", 0];
    await show(
      <StrictMode>
        <LastseenProvider options={options}>
          <Follow />
          <Follow />
        </LastseenProvider>
      </StrictMode>,
    );
    await greeted();
  });

  test("shows each chunk once though many come in a frame", async () => {
    expect(subscribes(socket()).length).toBe(1);
    answer(socket());
    shown = "";
    renders = 0;
    const texts = [...Array(2_000).keys()].map((number) => `${number}\n`);
    let at = 0;
    const events = texts.map((text, index) => {
      const made = output(index, at, text);
      at += text.length;
      return made;
    });
    await receive(...events);
    // Two components show it, each all of it.
    expect(shown.length).toBe(2 * texts.join("").length);
    expect(task.output.text()).toBe(texts.join(""));
    expect(renders).toBeLessThan(100);
  });

  test("tells the state, and sends what is asked for", async () => {
    answer(socket());
    await receive(
      event(0, { type: "task_started" }),
      event(1, { type: "task_progress_update", data: { percent: 7 } }),
      event(2, { type: "task_confirmation_required", data: { confirmation_id: "c1" } }),
    );
    expect(task).toMatchObject({
      isConnected: true,
      taskStatus: "waiting",
      progress: { percent: 7 },
      confirmation: { confirmation_id: "c1" },
      hasEnded: false,
    });
    const confirmed = task.confirmTask(true);
    await settled();
    const sent = socket().sent.at(-1) as Message;
    expect(sent).toMatchObject({ type: "task_confirm", task_id: "t", confirmation_id: "c1", approved: true });
    socket().receive({
      type: "confirm_result",
      task_id: "t",
      id: sent.id,
      state: "applied",
      reason: null,
      ref: sent.ref,
    });
    expect(await confirmed).toMatchObject({ success: true });
    const { sendTaskInput } = task;
    await receive(event(3, { type: "task_resumed" }), event(4, { type: "task_paused" }));
    expect(task.taskStatus).toBe("paused");
    await expect(task.confirmTask(true)).rejects.toMatchObject({ code: "nothing_to_confirm" });
    expect(sendTaskInput).toBeTypeOf("function");
  });
});

describe("useWebSocket", () => {
  test("who does not read the last message is not rendered for it, and confirms nothing", async () => {
    let [reading, quiet] = [0, 0];
    let last: unknown;
    let isReading = false;
    function Reads(): null {
      last = useWebSocket().lastMessage;
      reading += 1;
      return null;
    }
    function Quiet(): string {
      quiet += 1;
      return String(useWebSocket().isConnected);
    }
    const App = (): ReactElement => (
      <LastseenProvider options={options}>
        <Quiet />
        {isReading && <Reads />}
      </LastseenProvider>
    );
    await show(<App />);
    await greeted();
    quiet = 0;
    const own = { channels: ["user:ann"], replay: undefined, type: "user_notification" };
    await receive(event(10, own), { type: "ping", position: "k3f9:0=10,1=9" });
    expect(quiet).toBe(0);
    expect(socket().sent.at(-1)).toEqual({ type: "ping" });
    isReading = true;
    await show(<App />);
    await receive(event(11, own), event(12, own));
    expect(last).toMatchObject({ offset: 12 });
    expect(reading).toBeGreaterThan(0);
  });

  test("a handler gets every event, the latest handler is called, and none after it has gone", async () => {
    const got: string[] = [];
    function Hears({ name }: { name: string }): null {
      useEvent("user_notification", ({ offset }) => got.push(`${name}${offset}`));
      return null;
    }
    const App = ({ name }: { name: string | undefined }): ReactElement => (
      <LastseenProvider options={options}>{name && <Hears name={name} />}</LastseenProvider>
    );
    await show(<App name="a" />);
    await greeted();
    const own = { channels: ["user:ann"], replay: undefined, type: "user_notification" };
    await receive(event(10, own), event(11, own));
    await show(<App name="b" />);
    await receive(event(12, own));
    await show(<App name={undefined} />);
    await receive(event(13, own));
    expect(got).toEqual(["a10", "a11", "b12"]);
  });

  test("a channel is followed as long as it is shown, and another from its own start", async () => {
    let events: readonly { offset: number }[] = [];
    let users: readonly string[] = [];
    function Feed({ channel }: { channel: string }): null {
      events = useChannel(channel, { last: 5 }).events;
      users = usePresence(channel).users;
      return null;
    }
    const App = ({ channel }: { channel: string }): ReactElement => (
      <LastseenProvider options={options}>
        <Feed channel={channel} />
      </LastseenProvider>
    );
    await show(<App channel="task:t" />);
    await greeted();
    const { ref } = subscribes(socket()).at(-1) as { ref?: unknown };
    const asked = socket().sent.find(({ type }) => type === "presence");
    await receive(
      { type: "subscription_result", channel: "task:t", subscribed: true, position: "k3f9:0=3,1=9", ref },
      event(4),
      { type: "presence_result", channel: "task:t", users: ["ann"], ref: asked?.ref },
    );
    expect([events.map(({ offset }) => offset), users]).toEqual([[4], ["ann"]]);
    await show(<App channel="task:other" />);
    expect(events).toEqual([]);
    expect(subscribes(socket()).at(-1)).toMatchObject({ channel: "task:other", last: 5 });
    vi.advanceTimersByTime(1);
    expect(socket().sent.at(-1)).toMatchObject({ type: "unsubscribe", channel: "task:t" });
  });
});
