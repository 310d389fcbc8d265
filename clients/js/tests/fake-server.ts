/**
 * A server as a model: it keeps the protocol and nothing more. It replays from any point at or below what was asked,
 * says some things twice, falls behind at will, forgets what is old, begins a new epoch, and loses what is in flight
 * when the line is cut.
 */

import type { Message } from "../src/notices.js";
import { formatPosition, NEVER, parsePosition } from "../src/positions.js";
import type { FakeSocket } from "./fake-socket.js";

export const PARTITIONS = 2;
export const USER = "user:ann";
export const AUTOMATIC: readonly string[] = [USER, "broadcast", "project:p"];

export interface Logged {
  readonly id: string;
  readonly partition: number;
  readonly offset: number;
  readonly channels: readonly string[];
  /** Left out of the offline messages. */
  readonly flood: boolean;
  readonly type: "x" | "task_completed";
}

interface Stream {
  live: boolean;
  at: Map<number, number>;
  group: number;
  /** Of offline messages: the head at the connect; up to there floods are left out. */
  awayUpto?: Map<number, number>;
}

export class FakeServer {
  epoch = "e0";
  log: Logged[] = [];
  /** All that was ever appended, and the epoch of each. */
  readonly everything: (Logged & { readonly epoch: string })[] = [];
  next: number[] = Array(PARTITIONS).fill(0);
  /** Offsets at or below are gone. */
  low: number[] = Array(PARTITIONS).fill(-1);
  /** The durable cursor, of the epoch. */
  cursor: number[] = Array(PARTITIONS).fill(-1);
  hasHistory = true;
  /** Channels of tasks that have ended: nothing more comes to them. */
  readonly ended: Set<string> = new Set();
  /** Commands applied, by id: how often. */
  readonly applied: Map<string, number> = new Map();
  socket: FakeSocket | undefined;
  streams: Map<string, Stream> = new Map();
  wire: Message[] = [];
  #groups = 0;
  #ids = 0;
  #epochs = 0;
  #pinged: { head: Map<number, number>; live: boolean } | undefined;

  head(): Map<number, number> {
    return new Map(this.next.map((next, partition) => [partition, next - 1]));
  }

  token(offsets: ReadonlyMap<number, number> = this.head()): string {
    return formatPosition({ epoch: this.epoch, offsets });
  }

  append(
    partition: number,
    wanted: readonly string[],
    skipped: number,
    flood: boolean,
    type: Logged["type"] = "x",
  ): void {
    const channels = wanted.filter((name) => !this.ended.has(name));
    if (channels.length === 0) return;
    const offset = (this.next[partition] ?? 0) + skipped;
    this.#ids += 1;
    const logged = { id: `${this.epoch}-${this.#ids}`, partition, offset, channels, flood, type };
    this.next[partition] = offset + 1;
    this.log.push(logged);
    this.everything.push({ ...logged, epoch: this.epoch });
    if (channels.some((name) => this.streams.get(name)?.live)) this.wire.push(event(logged));
  }

  /** A connection comes; what was in flight on another is lost. */
  accept(socket: FakeSocket): void {
    this.disconnect();
    this.socket = socket;
    socket.onsent = (message): void => {
      if (this.socket === socket) this.#receive(message);
    };
    this.#greet();
    socket.open();
  }

  #greet(): void {
    const after = this.socket?.after ?? null;
    const gaps: Message[] = [];
    this.#groups += 1;
    for (const channel of AUTOMATIC) {
      const at = after === null ? this.head() : this.#start([channel], after, gaps);
      this.streams.set(channel, { live: after === null, at, group: this.#groups });
    }
    const isAway = after === null && this.hasHistory;
    if (isAway) {
      const at = new Map(this.cursor.map((offset, p) => [p, Math.max(offset, this.low[p] ?? -1)]));
      this.streams.set(USER, { live: false, at, group: this.#groups, awayUpto: this.head() });
    }
    const said: Message[] = [
      {
        type: "connection_established",
        connection_id: `c${this.#groups}`,
        user_id: "ann",
        node: "n",
        heartbeat_seconds: 30,
        subscriptions: [...this.streams]
          .filter(([channel]) => AUTOMATIC.includes(channel))
          .map(([channel, { live, at }]) => ({ channel, live, position: after ?? this.token(at) })),
      },
      ...gaps,
    ];
    if (isAway && this.#groups % 2) {
      // There is much: the others join.
      const others = AUTOMATIC.filter((name) => name !== USER);
      for (const name of others)
        this.streams.set(name, { live: false, at: this.head(), group: this.#groups });
      said.push({ type: "fell_behind", channels: others, position: this.token() });
    } else if (after === null && !isAway) {
      const code = "history_unavailable";
      said.push({ type: "error", message: "Postgres is away", code, channel: USER, retry_after: 5 });
    }
    this.wire.push(...said);
  }

  disconnect(): void {
    this.socket = undefined;
    this.streams.clear();
    this.wire = [];
    this.#pinged = undefined;
  }

  /** The next events of a catch-up; it flips to live in the step that reaches the head. */
  replay(which: number, steps: number): void {
    const groups = [
      ...new Set([...this.streams.values()].filter(({ live }) => !live).map(({ group }) => group)),
    ];
    if (groups.length === 0) return;
    const group = groups[which % groups.length];
    const names = [...this.streams].filter(([, s]) => !s.live && s.group === group).map(([name]) => name);
    for (let step = 0; step < steps; step += 1) {
      const found = this.#nextOf(names);
      if (!found) {
        for (const name of names) (this.streams.get(name) as Stream).live = true;
        const open = names.filter((name) => !this.ended.has(name));
        const closed = names.filter((name) => this.ended.has(name));
        const position = this.token();
        if (open.length > 0) this.wire.push({ type: "caught_up", channels: open, position });
        if (closed.length > 0)
          this.wire.push({ type: "caught_up", channels: closed, position, closed: true });
        return;
      }
      const [logged, replay] = found;
      this.wire.push({ ...event(logged), replay });
      for (const name of replay) this.streams.get(name)?.at.set(logged.partition, logged.offset);
    }
  }

  fallBehind(channels: readonly string[]): void {
    const names = channels.filter((name) => this.streams.get(name)?.live);
    if (names.length === 0) return;
    this.#groups += 1;
    for (const name of names) this.streams.set(name, { live: false, at: this.head(), group: this.#groups });
    this.wire.push({ type: "fell_behind", channels: names, position: this.token() });
  }

  ping(): void {
    const live = this.streams.get(USER)?.live ?? false;
    this.wire.push({ type: "ping", position: this.token(), live });
  }

  /** The last event of a task. */
  endTask(partition: number, task: string): void {
    this.append(partition, [`task:${task}`, "project:p"], 0, false, "task_completed");
    this.ended.add(`task:${task}`);
  }

  /** Retention: what lies at or below is held no more; where somebody is behind it, he is told. */
  retain(partition: number, upto: number): void {
    const low = Math.min(upto, (this.next[partition] ?? 0) - 1);
    if (low <= (this.low[partition] ?? -1)) return;
    this.low[partition] = low;
    this.log = this.log.filter((one) => one.partition !== partition || one.offset > low);
    for (const [name, stream] of this.streams) {
      if (stream.live || (stream.at.get(partition) ?? NEVER) >= low) continue;
      const requested = this.token(stream.at);
      stream.at.set(partition, low);
      this.wire.push({
        type: "gap",
        channels: [name],
        requested,
        earliest: this.token(stream.at),
        reason: "retention",
      });
    }
  }

  /** The log begins anew; every connection ends. */
  beginEpoch(): void {
    this.#epochs += 1;
    this.epoch = `e${this.#epochs}`;
    this.log = [];
    this.next = Array(PARTITIONS).fill(0);
    this.low = Array(PARTITIONS).fill(-1);
    this.cursor = Array(PARTITIONS).fill(-1);
    this.ended.clear();
  }

  /** Say once more what is next on the wire, if that is an event. */
  double(): void {
    const [first] = this.wire;
    if (first && "offset" in first) this.wire.unshift(first);
  }

  /** The next message arrives. */
  deliver(): Message | undefined {
    const message = this.wire.shift();
    if (!message) return undefined;
    if (message.type === "ping") {
      const { offsets } = parsePosition(message.position as string);
      this.#pinged = { head: new Map(offsets), live: message.live === true };
    }
    this.socket?.receive(message);
    return message;
  }

  #receive(message: Message): void {
    const { ref } = message;
    const channel = message.channel as string;
    switch (message.type) {
      case "subscribe":
        this.#subscribe(channel, message.after as string | undefined, ref);
        return;
      case "unsubscribe":
        this.streams.delete(channel);
        this.wire.push({ type: "unsubscription_result", channel, unsubscribed: true, ref });
        return;
      case "pong":
        if (this.#pinged?.live) {
          for (const [p, offset] of this.#pinged.head)
            this.cursor[p] = Math.max(this.cursor[p] ?? -1, offset);
        }
        return;
      case "task_input": {
        const id = message.id as string;
        this.applied.set(id, this.applied.get(id) ?? 1);
        this.wire.push({
          type: "input_result",
          task_id: message.task_id,
          id,
          success: true,
          state: "applied",
          reason: null,
          ref,
        });
        return;
      }
      default:
        return;
    }
  }

  #subscribe(channel: string, after: string | undefined, ref: unknown): void {
    const answer = { type: "subscription_result", channel, subscribed: true, ref };
    if (after === undefined) {
      const stream = this.streams.get(channel) ?? { live: true, at: this.head(), group: 0 };
      this.streams.set(channel, stream);
      this.wire.push({ ...answer, position: this.token(stream.live ? this.head() : stream.at) });
      return;
    }
    this.#groups += 1;
    const gaps: Message[] = [];
    const at = this.#start([channel], after, gaps);
    this.streams.set(channel, { live: false, at, group: this.#groups });
    this.wire.push({ ...answer, position: after, recovered: gaps.length === 0 }, ...gaps);
  }

  /** Where a replay begins, and the gap that is told where it can't begin there. */
  #start(channels: readonly string[], token: string, gaps: Message[]): Map<number, number> {
    const { epoch, offsets } = parsePosition(token);
    const low = new Map(this.low.map((offset, partition) => [partition, offset]));
    if (epoch === "") return new Map(low);
    if (epoch !== this.epoch) {
      gaps.push({ type: "gap", channels, requested: token, earliest: this.token(low), reason: "epoch" });
      return new Map(low);
    }
    const at = new Map([...low].map(([p, offset]) => [p, Math.max(offset, offsets.get(p) ?? NEVER)]));
    if ([...offsets].some(([p, offset]) => offset < (low.get(p) ?? -1))) {
      gaps.push({ type: "gap", channels, requested: token, earliest: this.token(at), reason: "retention" });
    }
    return at;
  }

  #nextOf(names: readonly string[]): [Logged, string[]] | undefined {
    for (const logged of this.log) {
      const replay = names.filter((name) => this.#counts(name, logged));
      if (replay.length > 0) return [logged, replay];
    }
    return undefined;
  }

  #counts(name: string, { partition, offset, channels, flood }: Logged): boolean {
    const { at, awayUpto } = this.streams.get(name) as Stream;
    const isLeftOut = flood && offset <= (awayUpto?.get(partition) ?? NEVER);
    return channels.includes(name) && !isLeftOut && offset > (at.get(partition) ?? NEVER);
  }
}

function event({ id, partition, offset, channels, type }: Logged): Message {
  const task = channels.find((name) => name.startsWith("task:"))?.slice("task:".length) ?? null;
  return { id, type, category: "task", task_id: task, channels, data: {}, partition, offset };
}
