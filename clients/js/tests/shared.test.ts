/** Tabs come and go, the one that is connected is killed in the middle of it: each tab gets each event once, in order. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { CommandResult } from "../src/asking.js";
import { type EventStream, events } from "../src/event-stream.js";
import type { LastseenEvent } from "../src/events.js";
import type { ChannelSubscription } from "../src/follower.js";
import { hasSeen, type Position, parsePosition } from "../src/positions.js";
import { SharedClient } from "../src/shared/client.js";
import { FakeBrowser } from "./fake-browser.js";
import { FakeClock, settled } from "./fake-clock.js";
import { AUTOMATIC, FakeServer, PARTITIONS, USER } from "./fake-server.js";
import { type FakeSocket, socketsFor } from "./fake-socket.js";

interface Watched {
  readonly channel: string;
  readonly follower: ChannelSubscription | EventStream;
  readonly got: LastseenEvent[];
  base: Position | undefined;
  isAsking: boolean;
}

class Tab {
  readonly name: string;
  readonly clock: FakeClock = new FakeClock();
  readonly client: SharedClient;
  readonly watched: Watched[] = [];
  /** What came to the handlers of `on`. */
  readonly had: LastseenEvent[] = [];
  readonly results: (CommandResult | undefined)[] = [];
  readonly errors: string[] = [];
  readonly sockets: FakeSocket[] = [];

  constructor(name: string, browser: FakeBrowser) {
    let ids = 0;
    this.name = name;
    this.client = new SharedClient(
      {
        url: "http://lastseen.test",
        token: `x.${btoa(JSON.stringify({ sub: "ann" }))}.y`,
        projectId: "p",
        clock: this.clock,
        newId: () => `${name}-${++ids}`,
        WebSocket: socketsFor((socket) => this.sockets.push(socket)),
      },
      { locks: browser.locks(name), line: (of) => browser.line(name, of) },
    );
    this.client.on("message", (event) => void this.had.push(event as LastseenEvent));
    this.client.on("error", ({ code, message }) => {
      if (code !== "history_unavailable") this.errors.push(`${code}: ${message}`);
    });
    void this.client.connect();
  }

  follow(channel: string, kind: "handler" | "stream", after: "earliest" | undefined): void {
    const got: LastseenEvent[] = [];
    const follower =
      kind === "stream"
        ? events(this.client, channel, { after, maxBuffered: 3 })
        : this.client.subscribe(channel, { after, onEvent: (event) => void got.push(event) });
    const base = after && parsePosition(after);
    this.watched.push({ channel, follower, got, base, isAsking: false });
  }

  /** To be called after each step. */
  note(): void {
    for (const one of this.watched) {
      const { position } = one.follower;
      if (position !== undefined) one.base ??= parsePosition(position);
    }
  }

  async take(count: number): Promise<void> {
    for (const one of this.watched) {
      for (let taken = 0; taken < count; taken += 1) {
        if (!("next" in one.follower) || one.isAsking || one.follower.isTaken) break;
        one.isAsking = true;
        void one.follower.next().then(
          ({ value }) => {
            one.isAsking = false;
            if (value) one.got.push(value);
          },
          () => {}, // the tab is closed
        );
        await settled();
      }
    }
  }

  command(): void {
    const index = this.results.push(undefined) - 1;
    const id = `${this.name}-command-${index}`;
    void this.client.sendTaskInput("t", "y\n", { id, timeoutMs: 10_000_000 }).then(
      (result) => {
        this.results[index] = result;
      },
      () => {}, // the tab is closed
    );
  }
}

class Windows {
  readonly server: FakeServer = new FakeServer();
  readonly browser: FakeBrowser = new FakeBrowser();
  tabs: Tab[] = [];
  /** Each was connected once. */
  readonly leaders: Set<string> = new Set();
  #opened = 0;

  open(): void {
    if (this.tabs.length >= 3) return;
    this.#opened += 1;
    this.tabs.push(new Tab(`tab${this.#opened}`, this.browser));
  }

  close(which: number, how: "closed" | "killed" | "killed leader"): void {
    const leader = this.tabs.find(({ client }) => client.isLeading);
    const tab = how === "killed leader" ? leader : this.tabs[which % this.tabs.length];
    if (!tab) return;
    this.tabs = this.tabs.filter((one) => one !== tab);
    if (how === "closed") tab.client.disconnect();
    this.browser.kill(tab.name);
    const { socket } = this.server;
    if (socket && tab.sockets.includes(socket)) this.server.disconnect();
    if (this.tabs.length === 0) this.open();
  }

  accept(): void {
    for (const tab of this.tabs) {
      const socket = tab.sockets.at(-1);
      if (socket?.readyState === 0 && tab.client.isLeading) this.server.accept(socket);
    }
  }

  cut(): void {
    const { socket } = this.server;
    this.server.disconnect();
    socket?.end(1006);
  }

  async wait(ms: number): Promise<void> {
    for (const { clock } of this.tabs) await clock.advance(ms);
  }

  deliver(count: number): void {
    for (let n = 0; n < count && this.server.deliver(); n += 1) this.note();
  }

  note(): void {
    for (const tab of this.tabs) {
      tab.note();
      if (tab.client.isLeading) this.leaders.add(tab.name);
    }
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 24; turn += 1) {
      await this.wait(turn < 10 ? 2_000 : 0);
      this.accept();
      await settled();
      for (let group = 0; group < 8; group += 1) this.server.replay(0, 1_000);
      if (turn % 4 === 0) this.server.ping();
      this.deliver(100_000);
      while (this.browser.pass(0, 1_000)) {
        this.note();
        await settled();
      }
      for (const tab of this.tabs) await tab.take(1_000);
    }
  }

  check(): void {
    expect(this.tabs.filter(({ client }) => client.isLeading).length).toBe(1);
    for (const { client, watched, had, results, errors } of this.tabs) {
      expect(client.state).toBe("connected");
      expect(errors).toEqual([]);
      const ids = had.map(({ id }) => id);
      expect(new Set(ids).size, "handlers got something twice").toBe(ids.length);
      for (const one of watched) this.#checkWatched(one, new Set(ids));
      for (const result of results) expect(result?.state).toBe("applied");
    }
  }

  #checkWatched({ channel, got, base, follower }: Watched, had: ReadonlySet<string>): void {
    const last = new Map<number, number>();
    for (const { id, partition, offset, channels } of got) {
      expect(channels).toContain(channel);
      expect(offset, `${channel}: ${id} came twice, or too late`).toBeGreaterThan(last.get(partition) ?? -1);
      expect(had.has(id), `handlers did not get ${id}`).toBe(true);
      last.set(partition, offset);
    }
    expect(base, `${channel} has not begun: ${follower.state}`).toBeDefined();
    const ids = new Set(got.map(({ id }) => id));
    for (const { id, partition, offset, channels, flood } of this.server.log) {
      if (!channels.includes(channel) || (channel === USER && flood)) continue;
      if (base && hasSeen(base.offsets, partition, offset)) continue;
      expect(ids.has(id), `${channel} did not get ${id} at ${partition}=${offset}`).toBe(true);
    }
  }
}

type Act = (windows: Windows) => void | Promise<void>;

function act<T>(
  name: string,
  values: fc.Arbitrary<T>,
  does: (windows: Windows, value: T) => void | Promise<void>,
): fc.Arbitrary<Act> {
  return values.map((value) =>
    Object.assign((windows: Windows) => does(windows, value), {
      [fc.toStringMethod]: () => `${name} ${fc.stringify(value)}`,
    }),
  );
}

const CHANNELS = [...AUTOMATIC, "task:t", "task:u"];
const nothing = fc.constant(0);
const tabNumber = fc.nat(2);
const some = fc.uniqueArray(fc.constantFrom(...CHANNELS), { minLength: 1, maxLength: 3 });
const tabOf = (windows: Windows, which: number): Tab => windows.tabs[which % windows.tabs.length] as Tab;

const acts = fc.oneof(
  {
    weight: 8,
    arbitrary: act(
      "append",
      fc.tuple(fc.nat(PARTITIONS - 1), some, fc.nat(2), fc.boolean()),
      ({ server }, [p, channels, skipped, flood]) => server.append(p, channels, skipped, flood),
    ),
  },
  {
    weight: 8,
    arbitrary: act("deliver", fc.integer({ min: 1, max: 9 }), (windows, count) => windows.deliver(count)),
  },
  {
    weight: 10,
    arbitrary: act(
      "pass",
      fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 9 })),
      ({ browser }, [which, count]) => void browser.pass(which, count),
    ),
  },
  {
    weight: 5,
    arbitrary: act(
      "replay",
      fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 5 })),
      ({ server }, [group, steps]) => server.replay(group, steps),
    ),
  },
  {
    weight: 4,
    arbitrary: act(
      "follow",
      fc.tuple(
        tabNumber,
        fc.constantFrom("task:t", "task:u", "project:p", USER),
        fc.constantFrom("handler" as const, "stream" as const),
        fc.constantFrom("earliest" as const, undefined),
      ),
      (windows, [which, channel, kind, after]) => tabOf(windows, which).follow(channel, kind, after),
    ),
  },
  { weight: 4, arbitrary: act("accept", nothing, (windows) => windows.accept()) },
  {
    weight: 2,
    arbitrary: act("take", fc.tuple(tabNumber, fc.integer({ min: 1, max: 4 })), (windows, [which, count]) =>
      tabOf(windows, which).take(count),
    ),
  },
  { weight: 2, arbitrary: act("open", nothing, (windows) => windows.open()) },
  {
    weight: 3,
    arbitrary: act(
      "close",
      fc.tuple(tabNumber, fc.constantFrom("closed" as const, "killed" as const, "killed leader" as const)),
      (windows, [which, how]) => windows.close(which, how),
    ),
  },
  { weight: 2, arbitrary: act("command", tabNumber, (windows, which) => tabOf(windows, which).command()) },
  { weight: 1, arbitrary: act("fall behind", some, ({ server }, channels) => server.fallBehind(channels)) },
  { weight: 1, arbitrary: act("ping", nothing, ({ server }) => server.ping()) },
  { weight: 1, arbitrary: act("cut", nothing, (windows) => windows.cut()) },
  { weight: 1, arbitrary: act("wait", fc.constantFrom(100, 5_000), (windows, ms) => windows.wait(ms)) },
);

describe("one connection for all tabs", () => {
  test("each event once, in order, and all of them, whoever is connected", { timeout: 120_000 }, async () => {
    let successions = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(acts, { maxLength: 80, size: "max" }), async (schedule) => {
        const windows = new Windows();
        windows.open();
        windows.open();
        await settled();
        for (const step of schedule) {
          await step(windows);
          await settled();
          windows.note();
        }
        await windows.settle();
        windows.check();
        successions += windows.leaders.size - 1;
      }),
      { numRuns: Number(process.env.LASTSEEN_RUNS ?? 200) },
    );
    expect(successions).toBeGreaterThan(0);
  });
});
