/** A client and a server as a model, and whoever follows channels; whatever they get is written down. */

import { expect } from "vitest";
import type { CommandResult } from "../src/asking.js";
import { WebSocketClient } from "../src/client.js";
import { type EventStream, events } from "../src/event-stream.js";
import type { LastseenEvent } from "../src/events.js";
import type { ChannelSubscription } from "../src/follower.js";
import type { Gap } from "../src/notices.js";
import { hasSeen, type Position, parsePosition } from "../src/positions.js";
import { FakeClock, settled } from "./fake-clock.js";
import { FakeServer, USER } from "./fake-server.js";
import { type FakeSocket, socketsFor } from "./fake-socket.js";

export interface Watched {
  readonly channel: string;
  readonly follower: ChannelSubscription | EventStream;
  readonly got: LastseenEvent[];
  readonly gaps: Gap[];
  /** Everything of the channel behind it has to come, from the epoch on in which it began. */
  base: Position | undefined;
  begunIn: string;
  /** What was gone before it had come anywhere, by epoch. */
  readonly gone: Map<string, readonly number[]>;
  isLeft: boolean;
  /** The epoch in which its task ended. */
  endedIn: string | undefined;
  isAsking: boolean;
}

/** A step of a schedule. */
export type Act = (world: World) => unknown;

export class World {
  readonly server: FakeServer = new FakeServer();
  readonly clock: FakeClock;
  readonly stored: Map<string, string> = new Map();
  readonly #withStorage: boolean;
  client: WebSocketClient;
  watched: Watched[] = [];
  /** What came to the handlers of the page; what it may get once more. */
  had: Set<string> = new Set();
  /** All that came to them. */
  ever: Set<string> = new Set();
  readonly taken: Set<string> = new Set();
  results: (CommandResult | undefined)[] = [];
  readonly errors: string[] = [];
  #coming: FakeSocket | undefined;
  #commands = 0;

  constructor(random: () => number, withStorage: boolean) {
    this.clock = new FakeClock(random);
    this.#withStorage = withStorage;
    this.client = this.#newClient();
  }

  #newClient(): WebSocketClient {
    const page = new WebSocketClient({
      url: "http://lastseen.test",
      token: `x.${btoa(JSON.stringify({ sub: "ann" }))}.y`,
      projectId: "p",
      clock: this.clock,
      WebSocket: socketsFor((socket) => {
        this.#coming = socket;
      }),
      ...(this.#withStorage
        ? {
            storage: {
              getItem: (key: string): string | null => this.stored.get(key) ?? null,
              setItem: (key: string, value: string): void => void this.stored.set(key, value),
            },
          }
        : {}),
    });
    page.on("message", (message) => {
      if (!("offset" in message)) return;
      const { id, channels } = message as LastseenEvent;
      expect(this.had.has(id), `handlers got ${id} twice`).toBe(false);
      this.had.add(id);
      this.ever.add(id);
      if (channels.includes(USER)) this.taken.add(id);
    });
    page.on("error", ({ code, message }) => {
      if (code !== "history_unavailable") this.errors.push(`${code}: ${message}`);
    });
    return page;
  }

  /** A schedule, step by step, to where everything has come; each step holds what a cursor promises. */
  async play(schedule: readonly Act[]): Promise<void> {
    await this.connect();
    for (const act of schedule) {
      await act(this);
      await settled();
      this.note();
      this.checkCursor();
    }
    await this.settle();
    this.check();
    this.checkCursor();
  }

  async connect(): Promise<void> {
    void this.client.connect();
    await settled();
  }

  /** The page is loaded anew: nothing is left of it but the storage. */
  async reload(): Promise<void> {
    const reached = new Map(this.watched.map((one) => [one, one.follower.position]));
    this.client.disconnect();
    await settled();
    for (const one of this.watched) {
      const kept = JSON.parse([...this.stored.values()][0] ?? "{}") as Record<string, string>;
      const left = kept[one.channel];
      this.#checkOrder(one);
      if (left === undefined || one.isLeft || !one.base) continue;
      const place = parsePosition(left);
      // Another one of the channel has not come out of an epoch that this one has left.
      const hasCrossed = parsePosition(reached.get(one) ?? left).epoch === this.server.epoch;
      if (!hasCrossed || place.epoch === this.server.epoch) this.#checkWhole(one, place);
    }
    this.watched = [];
    this.had = new Set();
    this.ever = new Set();
    this.results = [];
    this.#coming = undefined;
    this.server.disconnect();
    this.client = this.#newClient();
    await this.connect();
  }

  follow(channel: string, kind: "handler" | "stream", start: "earliest" | "now" | "had"): void {
    if (!this.watched.some((one) => one.channel === channel && !one.isLeft && !one.follower.ended)) {
      this.#comesAnew(channel);
    }
    const got: LastseenEvent[] = [];
    const gaps: Gap[] = [];
    const had = this.client.position(channel);
    const after = start === "earliest" ? "earliest" : start === "had" ? had : undefined;
    const onGap = (gap: Gap): void => void gaps.push(gap);
    const follower =
      kind === "stream"
        ? events(this.client, channel, { after, onGap, maxBuffered: 3 })
        : this.client.subscribe(channel, { after, onGap, onEvent: (event) => got.push(event) });
    const watched: Watched = {
      channel,
      follower,
      got,
      gaps,
      base: undefined,
      begunIn: "",
      gone: new Map(),
      isLeft: false,
      endedIn: undefined,
      isAsking: false,
    };
    this.watched.push(watched);
    this.note();
  }

  leave(which: number): void {
    const open = this.watched.filter(({ isLeft }) => !isLeft);
    const one = open[which % Math.max(1, open.length)];
    if (!one) return;
    one.isLeft = true;
    one.follower.unsubscribe();
  }

  /** Nobody follows it: who does again may be given the same again. */
  #comesAnew(channel: string): void {
    this.had = new Set([...this.had].filter((id) => !this.#channelsOf(id).includes(channel)));
  }

  async take(count: number): Promise<void> {
    for (const one of this.watched) {
      for (let taken = 0; taken < count && !one.isLeft; taken += 1) {
        if (!("next" in one.follower) || one.isAsking || one.follower.isTaken) break;
        one.isAsking = true;
        void one.follower.next().then(
          ({ value }) => {
            one.isAsking = false;
            if (value) one.got.push(value);
          },
          () => {},
        );
        await settled();
      }
    }
  }

  command(): void {
    const index = this.results.push(undefined) - 1;
    this.#commands += 1;
    const { results } = this;
    void this.client.sendTaskInput("t", "y\n", { id: `command-${this.#commands}` }).then(
      (result) => {
        results[index] = result;
      },
      () => {},
    );
  }

  accept(): void {
    const socket = this.#coming;
    this.#coming = undefined;
    if (socket && socket.readyState === 0) this.server.accept(socket);
  }

  deliver(count: number): void {
    for (let n = 0; n < count; n += 1) {
      if (!this.server.deliver()) return;
      this.note();
    }
  }

  cut(code: number, reason = ""): void {
    const { socket } = this.server;
    this.server.disconnect();
    socket?.end(code, reason);
  }

  /** Let everything come that is still to come. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 40; turn += 1) {
      await this.clock.advance(turn < 20 ? 2_000 : 0);
      this.accept();
      await settled();
      for (let group = 0; group < 8; group += 1) this.server.replay(0, 1_000);
      if (turn % 4 === 0) this.server.ping();
      this.deliver(100_000);
      await this.take(100_000);
    }
    expect(this.client.state).toBe("connected");
  }

  /** All that was promised. */
  check(): void {
    for (const one of this.watched) {
      this.#checkOrder(one);
      if (!one.isLeft) {
        expect(one.base, `${one.channel} has not begun`).toBeDefined();
        this.#checkWhole(one, undefined);
        for (const { id } of one.got) expect(this.ever.has(id), `handlers did not get ${id}`).toBe(true);
      }
    }
    expect(this.errors).toEqual([]);
  }

  /** The cursor passes over nothing that nobody has taken. */
  checkCursor(): void {
    for (const { id, channels, flood, epoch, partition, offset } of this.server.everything) {
      if (epoch !== this.server.epoch || flood || !channels.includes(USER)) continue;
      if (offset > (this.server.cursor[partition] ?? -1) || offset <= (this.server.low[partition] ?? -1))
        continue;
      expect(this.taken.has(id), `${id} was confirmed and not taken`).toBe(true);
    }
  }

  /** Whatever came to the user has been taken, by one page or another. */
  checkTaken(): void {
    for (const { id, channels, flood, epoch, partition, offset } of this.server.everything) {
      if (epoch !== this.server.epoch || flood || !channels.includes(USER)) continue;
      if (offset > (this.server.low[partition] ?? -1))
        expect(this.taken.has(id), `nobody got ${id}`).toBe(true);
    }
  }

  #checkOrder({ got, channel }: Watched): void {
    const last = new Map<string, number>();
    for (const { id, partition, offset, channels } of got) {
      const key = `${id.split("-")[0]}/${partition}`;
      expect(channels).toContain(channel);
      expect(offset, `${channel}: ${id} came twice, or too late`).toBeGreaterThan(last.get(key) ?? -1);
      last.set(key, offset);
    }
  }

  #checkWhole({ channel, got, gaps, base, begunIn, gone }: Watched, upto: Position | undefined): void {
    const ids = new Set(got.map(({ id }) => id));
    const { epoch } = upto ?? this.server;
    const crossed = gaps.filter(
      ({ reason, earliest }) => reason === "epoch" && parsePosition(earliest).epoch === epoch,
    );
    const first = crossed[0];
    const isOf = base?.epoch === "" && this.#number(epoch) >= this.#number(begunIn);
    const from = base?.epoch === epoch || isOf ? base : first && parsePosition(first.earliest);
    if (!from) return;
    const told = gaps.map(
      ({ requested, earliest }) => [parsePosition(requested), parsePosition(earliest)] as const,
    );
    for (const logged of this.server.everything) {
      const { id, partition, offset } = logged;
      if (logged.epoch !== epoch || !logged.channels.includes(channel) || ids.has(id)) continue;
      if (hasSeen(from.offsets, partition, offset) || offset <= (gone.get(epoch)?.[partition] ?? -1))
        continue;
      if (upto && !hasSeen(upto.offsets, partition, offset)) continue;
      const isTold = told.some(
        ([a, b]) =>
          b.epoch === epoch &&
          !hasSeen(a.epoch === epoch ? a.offsets : new Map(), partition, offset) &&
          hasSeen(b.offsets, partition, offset),
      );
      // Offline messages leave floods out.
      if (isTold || (channel === USER && logged.flood)) continue;
      expect.fail(
        `${channel} did not get ${id} at ${partition}=${offset}, from ${JSON.stringify([...from.offsets])}`,
      );
    }
  }

  /** To be called after each step: where followers have begun, and what was gone before they had come anywhere. */
  note(): void {
    for (const one of this.watched) {
      this.#noteEnd(one);
      const { start, position, begun } = one.follower;
      if (!begun || (start?.after === undefined && position === undefined)) continue;
      const { epoch, low } = this.server;
      if (!one.base) {
        one.base = parsePosition(start?.after ?? position ?? "");
        one.begunIn = epoch;
      }
      // `earliest`, asked for by any of a channel, is whatever is held, until something of the partition has come.
      const come = parsePosition(position ?? "earliest").offsets;
      const before = one.gone.get(epoch) ?? [];
      const gone = low.map((offset, partition) => (come.has(partition) ? (before[partition] ?? -1) : offset));
      one.gone.set(epoch, gone);
    }
  }

  /** Whoever was told that the task has ended has had all of it, once it was taken. */
  #noteEnd(one: Watched): void {
    if (one.isLeft || !one.follower.ended) return;
    one.endedIn ??= this.server.epoch;
    if (!one.follower.isTaken || one.isAsking) return;
    const all = new Map(this.server.next.map((_, partition) => [partition, Number.MAX_SAFE_INTEGER]));
    this.#checkWhole(one, { epoch: one.endedIn, offsets: all });
    one.isLeft = true;
  }

  /** Of an epoch, in the order in which they begin. */
  #number(epoch: string): number {
    return Number(epoch.slice(1));
  }

  #channelsOf(id: string): readonly string[] {
    return this.server.everything.find((one) => one.id === id)?.channels ?? [];
  }
}
