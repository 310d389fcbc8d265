/**
 * One connection for all tabs of a browser. The tab that holds a lock connects; the others say what they want over a
 * BroadcastChannel and are told what comes. When it goes, another takes the lock, and every tab goes on from its own
 * positions: whoever was connected, a tab's handlers get each event once and in order per channel.
 *
 * Long because it is the whole face of a client once more, answered from the line.
 */

import type { CommandOptions, CommandResult } from "../asking.js";
import { WebSocketClient } from "../client.js";
import { type ClientEvents, type ClientState, type HandledBy, OWN_NAMES } from "../client-events.js";
import { LastseenError } from "../errors.js";
import type { LastseenEvent } from "../events.js";
import type { Follower, FollowerPort } from "../follower.js";
import type { Message } from "../notices.js";
import { type Clock, REAL_CLOCK } from "../options.js";
import { formatPosition, lowered, type Position, parsePosition } from "../positions.js";
import { Following } from "./following.js";
import {
  type Browser,
  errorOf,
  type FromLeader,
  type Method,
  type PlainError,
  type SharedOptions,
  type ToLeader,
} from "./messages.js";
import { type Content, Round } from "./round.js";

export type { SharedOptions };

interface Asked {
  readonly method: Method;
  readonly args: readonly unknown[];
  settle(value: unknown, error?: LastseenError): void;
}

const TIMEOUT_MS = 60_000;
/** Followings that have ended and are remembered, for the sake of the handlers of `on`. */
const MAX_ENDED = 100;

export class SharedClient extends WebSocketClient {
  readonly #options: SharedOptions;
  readonly #browser: Browser;
  readonly #clock: Clock;
  readonly #newId: () => string;
  readonly #tab: string;
  #followings: Following[] = [];
  #ended: Following[] = [];
  readonly #asked = new Map<number, Asked>();
  #count = 0;
  #isReading = false;
  #round: Round | undefined;
  #state: ClientState = "idle";
  #connected: ClientEvents["connected"] | undefined;
  #userId: string | undefined;
  #error: LastseenError | undefined;
  #connecting: { promise: Promise<void>; settle(error?: LastseenError): void } | undefined;

  constructor(options: SharedOptions, browser: Browser) {
    super(options);
    this.#options = options;
    this.#browser = browser;
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#newId = options.newId ?? ((): string => crypto.randomUUID());
    this.#tab = this.#newId();
  }

  override get state(): ClientState {
    return this.#state;
  }

  override get connectionError(): LastseenError | undefined {
    return this.#error;
  }

  override get userId(): string | undefined {
    return this.#userId;
  }

  override get connectionId(): string | undefined {
    return this.#connected?.connectionId;
  }

  /** Whether it is this tab that is connected. */
  get isLeading(): boolean {
    return this.#round?.isLeading ?? false;
  }

  override connect(): Promise<void> {
    if (this.isConnected) return Promise.resolve();
    if (!this.#connecting) {
      let settle: (error?: LastseenError) => void = () => {};
      const promise = new Promise<void>((resolve, reject) => {
        settle = (error): void => (error ? reject(error) : resolve());
      });
      promise.catch(() => {}); // nobody has to handle it
      this.#connecting = { promise, settle };
    }
    const { promise } = this.#connecting;
    if (this.#round) this.#say({ do: "connect" });
    else this.#join();
    return promise;
  }

  override disconnect(): void {
    const round = this.#round;
    if (!round) return;
    const wasConnected = this.isConnected;
    round.leave();
    this.#round = undefined;
    for (const following of this.#followings) following.key = undefined;
    this.#setState("idle");
    const error = new LastseenError("the client was disconnected", "closed");
    this.#fail(error);
    for (const { settle } of [...this.#asked.values()]) settle(undefined, error);
    if (wasConnected) this.emit("disconnected", { code: 1000, reason: "disconnect", willReconnect: false });
  }

  override send(message: Message): boolean {
    if (this.isConnected) this.#say({ do: "send", message });
    return this.isConnected;
  }

  override follow<F extends Follower>(make: (port: FollowerPort) => F): F {
    const following = new Following({
      follow: (one) => this.#follow(one),
      hold: (one) => this.#hold(one),
      leave: (one) => this.#leave(one),
      guard: (call) => this.#guard(call),
    });
    const follower = make(following);
    following.follower = follower;
    this.#ended = this.#ended.filter(({ channel }) => channel !== follower.channel);
    this.#followings.push(following);
    this.#follow(following);
    return follower;
  }

  /** End all that follows a channel in this tab. */
  override unsubscribe(channel: string): void {
    for (const { follower, channel: of } of [...this.#followings])
      if (of === channel) follower?.unsubscribe();
  }

  override position(channel: string): string | undefined {
    const places = this.#followings
      .filter((one) => one.channel === channel)
      .map((one) => (one.follower ? one.follower.reached : one.position()))
      .filter((one): one is Position => one !== undefined);
    const [first] = places;
    if (!first) return undefined;
    const same = places.filter(({ epoch }) => epoch === first.epoch);
    return formatPosition({
      epoch: first.epoch,
      offsets: same.map(({ offsets }) => offsets).reduce(lowered),
    });
  }

  /** Nothing is kept of a channel that nobody follows. */
  override forget(): void {}

  override on<K extends keyof ClientEvents>(name: K, handler: (value: ClientEvents[K]) => void): () => void;
  override on<K extends string>(type: K, handler: (event: HandledBy<K>) => void): () => void;
  override on(name: string, handler: (value: never) => void): () => void {
    if (!this.#isReading && (name === "message" || !OWN_NAMES.has(name))) {
      this.#isReading = true;
      this.#read();
    }
    return super.on(name, handler as (value: unknown) => void);
  }

  override sendTaskInput(
    taskId: string,
    input: string,
    options: CommandOptions = {},
  ): Promise<CommandResult> {
    return this.#command("sendTaskInput", [taskId, input], options);
  }

  override cancelTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("cancelTask", [taskId], options);
  }

  override pauseTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("pauseTask", [taskId], options);
  }

  override resumeTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("resumeTask", [taskId], options);
  }

  override confirmTask(
    taskId: string,
    confirmationId: string,
    approved: boolean,
    options: CommandOptions = {},
  ): Promise<CommandResult> {
    return this.#command("confirmTask", [taskId, confirmationId, approved], options);
  }

  override async presence(channel: string): Promise<readonly string[]> {
    return (await this.#ask("presence", [channel])) as readonly string[];
  }

  override async ack(position?: string): Promise<string> {
    const token = position ?? this.position(`user:${this.#userId}`);
    return (await this.#ask("ack", [token])) as string;
  }

  #join(): void {
    const round: Round = new Round(this.#options, this.#browser, this.#tab, this.#newId, {
      hear: (said) => this.#hear(said),
      follow: () => this.#followAgain(),
      report: (error) => this.#report(error),
    });
    this.#round = round;
    this.#setState("connecting");
    void round.join();
  }

  /** Another tab leads: everything goes on from where it is. */
  #followAgain(): void {
    if (this.isConnected) {
      this.#setState("connecting");
      this.emit("disconnected", { code: 1006, reason: "another tab connects", willReconnect: true });
    }
    for (const following of this.#followings) {
      following.key = undefined;
      if (following.follower?.hasRoom) this.#follow(following);
    }
    for (const [id, { method, args }] of this.#asked) this.#say({ do: "ask", id, method, args });
    this.#read();
  }

  #hear(said: FromLeader): void {
    if (said.do === "state") this.#hearState(said);
    else if (said.do === "tell") this.#hearTold(said.name, said.value);
    else if (said.tab !== this.#tab) return;
    else if (said.do === "answer") this.#asked.get(said.id)?.settle(said.value);
    else if (said.do === "refuse") this.#asked.get(said.id)?.settle(undefined, errorOf(said.error));
    else this.#hearFollowed(said);
  }

  #hearState({ state, connected, error }: Extract<FromLeader, { do: "state" }>): void {
    this.#error = error && errorOf(error);
    const before = this.#connected;
    this.#connected = connected;
    this.#userId = connected?.userId ?? this.#userId;
    this.#setState(state);
    if (connected && connected.connectionId !== before?.connectionId) {
      this.emit("connected", connected);
      this.#connecting?.settle();
      this.#connecting = undefined;
    }
  }

  #hearTold(name: string, value: unknown): void {
    if (name === "message") {
      this.#hearMessage(value as Message);
    } else if (name === "error") {
      this.#report(errorOf(value as PlainError));
    } else if (name === "reconnect_failed") {
      const error = errorOf(value as PlainError);
      this.#fail(error);
      this.emit(name, error);
    } else {
      this.emit(name, value as never);
    }
  }

  #hearMessage(message: LastseenEvent | Message): void {
    if (!OWN_NAMES.has(message.type)) this.emit(message.type, message as LastseenEvent);
    this.emit("message", message as LastseenEvent);
  }

  #hearFollowed(said: Extract<FromLeader, { key: string }>): void {
    const { key, channel, position, state } = said;
    let following = this.#followings.find((one) => one.key === key);
    if (!following && key === this.#keyOf(channel)) {
      // It is the connection itself that follows it, for the handlers of `on`.
      following =
        this.#followings.find((one) => !one.follower && one.channel === channel) ?? this.#implied(channel);
      following.key = key;
    }
    if (!following) return;
    const { follower } = following;
    switch (said.do) {
      case "begin":
        following.moved(position, state);
        this.emit("subscribed", { channel, position: position ?? "earliest", recovered: undefined });
        return;
      case "event": {
        const isNew = this.#isNew(following, said.event, position);
        following.delivers(said.event, position, state);
        follower?.take(said.event);
        if (!isNew) return;
        this.#hearMessage(said.event);
        return;
      }
      case "gap":
        following.moved(position, state);
        follower?.gap(said.gap);
        this.emit("gap", said.gap);
        return;
      case "caught_up":
        following.moved(position, state);
        follower?.caughtUp(said.closed);
        this.emit("caught_up", { channels: [channel], closed: said.closed });
        return;
      case "end":
        this.#forgetFollowing(following);
        follower?.end(said.error && errorOf(said.error));
        this.emit("unsubscribed", { channel, reason: said.error?.reason });
    }
  }

  #isNew(following: Following, event: LastseenEvent, token: string | undefined): boolean {
    const epoch = parsePosition(token ?? "earliest").epoch;
    return ![...this.#followings, ...this.#ended].some(
      (one) =>
        one !== following &&
        event.channels.includes(one.channel) &&
        one.wasHad(epoch, event.partition, event.offset),
    );
  }

  #keyOf(channel: string): string {
    return `${this.#tab}!${channel}`;
  }

  #implied(channel: string): Following {
    const nothing = (): void => {};
    const following = new Following(
      { follow: nothing, hold: nothing, leave: nothing, guard: nothing },
      channel,
    );
    this.#followings.push(following);
    return following;
  }

  #follow(following: Following): void {
    this.#count += 1;
    const key = `${this.#tab}/${this.#count}`;
    following.key = key;
    this.#say({ do: "follow", key, channel: following.channel, start: following.start });
  }

  #hold(following: Following): void {
    if (following.key !== undefined) this.#say({ do: "leave", key: following.key });
    following.key = undefined;
  }

  #leave(following: Following): void {
    this.#hold(following);
    this.#forgetFollowing(following);
  }

  #forgetFollowing(following: Following): void {
    this.#followings = this.#followings.filter((one) => one !== following);
    this.#ended = [...this.#ended, following].slice(-MAX_ENDED);
  }

  /** Whether what the connection itself subscribes is handled here, and from where on. */
  #read(): void {
    this.#say({ do: "read", after: this.#isReading ? this.#places() : undefined });
  }

  /** Where the followings that nobody asked for go on. */
  #places(): Record<string, string> {
    const places: Record<string, string> = {};
    for (const { follower, channel, start } of this.#followings) {
      if (!follower && start?.after !== undefined) places[channel] = start.after;
    }
    return places;
  }

  async #command(
    method: Method,
    args: readonly unknown[],
    { id = this.#newId(), timeoutMs }: CommandOptions,
  ): Promise<CommandResult> {
    try {
      return (await this.#ask(method, [...args, { id, timeoutMs }], timeoutMs)) as CommandResult;
    } catch (error) {
      if (!(error instanceof LastseenError) || error.code !== "unavailable") throw error;
      return { id, taskId: String(args[0]), success: false, state: "unknown", reason: "timeout" };
    }
  }

  /** Asked of the leader, and of the next one where it goes before it has answered. */
  #ask(method: Method, args: readonly unknown[], timeoutMs: number = TIMEOUT_MS): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#count;
      const settle = (value: unknown, error?: LastseenError): void => {
        this.#clock.clearTimeout(timer);
        this.#asked.delete(id);
        if (error) reject(error);
        else resolve(value);
      };
      const late = new LastseenError(`no answer to ${method} within ${timeoutMs} ms`, "unavailable");
      const timer = this.#clock.setTimeout(() => settle(undefined, late), timeoutMs);
      this.#asked.set(id, { method, args, settle });
      this.#say({ do: "ask", id, method, args });
    });
  }

  #say(content: Content<ToLeader>): void {
    this.#round?.say(content);
  }

  #setState(state: ClientState): void {
    if (state !== "connected") this.#connected = undefined;
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", state);
  }

  /** No connection comes by itself any more. */
  #fail(error: LastseenError): void {
    this.#connecting?.settle(error);
    this.#connecting = undefined;
    for (const { follower } of [...this.#followings]) follower?.fail(error);
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (cause) {
      this.#report(new LastseenError(`a handler has thrown: ${String(cause)}`, "handler", { cause }));
    }
  }

  #report(error: LastseenError): void {
    if (!this.emit("error", error) && error.code === "handler") console.error(error.cause);
  }
}
