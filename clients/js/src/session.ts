/**
 * The client's side of a conversation, decided purely: no I/O, no clock. It outlives its connections.
 *
 * `resume()` says with which position to connect and `requests()` what to send then, every message of the server
 * goes through `receive()`, and `disconnected()` ends the connection. What it hands out is each event once per channel, in the order of the log,
 * whatever the connection does: the rules of the protocol's "What a client must do".
 */

import type { LastseenEvent } from "./events.js";
import type { GapReason, Message, Notice } from "./notices.js";
import { EARLIEST, formatPosition, lowered, type Position, parsePosition } from "./positions.js";
import {
  apply,
  beginAgain,
  count,
  cross,
  forget,
  liesBefore,
  newSubscription,
  positionOf,
  type Start,
  type Subscription,
  take,
  wasHad,
} from "./subscription.js";
import type { Input, SubscriptionState } from "./transitions.js";

/**
 * The offline messages, which a connection that comes without a position brings: to come, coming, all here, or not to
 * be had on this client any more (the durable cursor stays, so that the next one gets them).
 */
type Offline = "owed" | "coming" | "whole" | "delayed";

interface Question {
  readonly channel: string;
  readonly verb: "subscribe" | "unsubscribe" | typeof VOID;
  readonly withStart: boolean;
  /** The start, where the caller named it: then the position is forgotten. */
  readonly rewind: Start | undefined;
}

/** Asked before the channel was given up: whatever the answer says is of a stream that nobody follows any more. */
const VOID = "void";
/** Beyond so many, an event that one of them has delivered may come to the handlers of `on` once more. */
const MAX_LEFT = 1_000;

export class Session {
  /** The server's epoch, as last heard. */
  epoch = "";
  /** The channel of the session's own user, once it is known. */
  userChannel = "";
  #offline: Offline = "owed";
  /** Whether the present connection came with a position. */
  #broughtBack = false;
  /** Whether the user's channel began at the durable cursor. */
  #fromCursor = false;
  /** How many partitions the most complete position of the automatic ones has. */
  #partitions = 0;
  /** Whether it has just begun the user's channel live, and not said yet why. */
  #beganLive = false;
  readonly #subscriptions = new Map<string, Subscription>();
  /** Channels that were removed: what they had delivered is no news on the others. */
  readonly #left = new Map<string, Subscription>();
  /** What was asked on the present connection and not been answered yet, in the order of sending. */
  readonly #questions = new Map<string, Question>();
  #refs = 0;

  /**
   * Want a channel; the message that says so. With a start, its position is forgotten when the server confirms it:
   * what was seen comes again. Without one, a channel goes on from its position; a new one begins live.
   */
  subscribe(channel: string, start?: Start): Message {
    this.#left.delete(channel);
    const had = this.#get(channel);
    return this.#ask(this.#put({ ...had, wanted: true, held: false, start: start ?? had.start }));
  }

  /** Want nothing of it, on this connection and later ones; the message that says so. The position is kept. */
  unsubscribe(channel: string): Message {
    this.#put({ ...this.#get(channel), wanted: false, held: true, start: undefined });
    return this.#end(channel);
  }

  /** As `unsubscribe`, and where it was is not known any more. */
  remove(channel: string): Message {
    const message = this.#end(channel);
    this.#left.set(channel, this.#get(channel));
    this.#subscriptions.delete(channel);
    for (const oldest of this.#left.keys()) {
      if (this.#left.size <= MAX_LEFT) break;
      this.#left.delete(oldest);
    }
    return message;
  }

  /** As `unsubscribe`, for a while: `subscribe` goes on from the position, or with the start that was not confirmed. */
  hold(channel: string): Message {
    this.#put({ ...this.#get(channel), held: true });
    return this.#end(channel);
  }

  /** Nobody takes its events any more; the connection may keep it all the same. */
  leave(channel: string): void {
    this.#put({ ...this.#get(channel), wanted: false, held: false, start: undefined });
  }

  forget(channel: string): void {
    this.#left.delete(channel);
    this.#put(forget(this.#get(channel)));
  }

  /** Where a channel stood in an earlier session, or was given up: it goes on there. */
  rewind(channel: string, { epoch, offsets }: Position): void {
    this.#put({ ...this.#get(channel), epoch, offsets });
  }

  /** These channels will be subscribed by the connection itself, and the first of them is the own user's. */
  expect(channels: readonly string[]): void {
    this.userChannel = channels[0] ?? "";
    if (this.#get(this.userChannel).offsets) {
      this.#offline = "whole";
      this.#fromCursor = true;
    }
    for (const channel of channels) this.#put({ ...this.#get(channel), automatic: true });
  }

  /** Up to where a channel was delivered; undefined before it began. */
  position(channel: string): Position | undefined {
    const had = this.#subscriptions.get(channel);
    return had && positionOf(had, this.epoch);
  }

  state(channel: string): SubscriptionState {
    return this.#subscriptions.get(channel)?.state ?? "idle";
  }

  isAutomatic(channel: string): boolean {
    return this.#subscriptions.get(channel)?.automatic ?? false;
  }

  isHeld(channel: string): boolean {
    return this.#subscriptions.get(channel)?.held ?? false;
  }

  isWanted(channel: string): boolean {
    return this.#subscriptions.get(channel)?.wanted ?? false;
  }

  /** The start that no result has confirmed yet. */
  pendingStart(channel: string): Start | undefined {
    return this.#subscriptions.get(channel)?.start;
  }

  /** Whether the user channel's position passes over nothing that came while away. */
  get isWhole(): boolean {
    return this.#offline === "whole";
  }

  /** Whether a channel's position passes over something that is still to come: then it is nothing to go on from. */
  passesOver(channel: string): boolean {
    return channel === this.userChannel && (this.#offline === "delayed" || this.#beganLive);
  }

  get channels(): Iterable<string> {
    return this.#subscriptions.keys();
  }

  /** A new connection is made: the `after` of its address. */
  resume(): string | undefined {
    this.disconnected();
    const after = this.#offline === "owed" ? undefined : this.#after();
    this.#broughtBack = after !== undefined;
    return after;
  }

  /** The connection is open: what to send first, in this order. */
  requests(): Message[] {
    this.#questions.clear();
    const messages: Message[] = [];
    for (const subscription of [...this.#subscriptions.values()]) {
      const { wanted, automatic, held, start } = subscription;
      if (held || !(wanted || automatic) || (!start && this.#comesByItself(subscription))) continue;
      messages.push(this.#ask(subscription));
    }
    return messages;
  }

  /** The connection is gone: nothing is subscribed, every position stays. */
  disconnected(): void {
    this.#questions.clear();
    this.#beganLive = false;
    if (this.#offline === "coming") this.#offline = "owed";
    for (const had of this.#subscriptions.values()) {
      const [next] = take(had, "disconnected");
      this.#put(next.offsets?.size && !next.epoch ? { ...next, epoch: this.epoch } : next);
    }
  }

  /** Take the next message of the server; what follows from it, in order. Throws on one that is not of the protocol. */
  receive(message: Message): Notice[] {
    if (this.#beganLive) this.#explain(message);
    // An event first: a producer may have named its type like one of the protocol's messages.
    return "offset" in message && "partition" in message
      ? this.#event(message as unknown as LastseenEvent & { replay?: readonly string[] })
      : this.#control(message);
  }

  #event({ replay, ...event }: LastseenEvent & { replay?: readonly string[] }): Notice[] {
    const { partition, offset } = event;
    const input = replay ? "replayed_event" : "live_event";
    const counted: Subscription[] = [];
    for (const name of replay ?? event.channels) {
      const had = this.#subscriptions.get(name);
      const next = had && count(had, input, partition, offset, this.epoch, this.#isSparse(name));
      if (next) counted.push(next);
    }
    const [first] = counted;
    if (!first) return [];
    const epoch = first.epoch || this.epoch;
    const isNew = !event.channels.some((name) => {
      const had = this.#subscriptions.get(name) ?? this.#left.get(name);
      return had && wasHad(had, epoch, partition, offset);
    });
    const channels = counted.map((next) => this.#put(next).channel);
    return [{ kind: "event", event, channels, replayed: replay !== undefined, isNew }];
  }

  #control(message: Message): Notice[] {
    switch (message.type) {
      case "ping":
        return [...this.#apply("ping", [...this.#subscriptions.keys()], message.position), { kind: "ping" }];
      case "caught_up": {
        const channels = this.#followed(message.channels);
        const gaps = this.#apply("caught_up", channels, message.position);
        if (this.#offline === "coming" && channels.includes(this.userChannel)) this.#offline = "whole";
        return [...gaps, { kind: "caught_up", channels, closed: message.closed === true }];
      }
      case "fell_behind": {
        const channels = this.#followed(message.channels);
        return [...this.#apply("fell_behind", channels, message.position), { kind: "fell_behind", channels }];
      }
      case "gap":
        return [this.#gap(message)];
      case "connection_established":
        return this.#established(message);
      case "subscription_result":
        return this.#result(message);
      case "unsubscription_result":
        return this.#unsubscribed(message);
      case "unsubscribed":
        return [this.#ended(text(message.channel), String(message.reason ?? ""))];
      case "token_expiring":
        return [{ kind: "token_expiring" }];
      case "error":
        return this.#error(message);
      default:
        return [{ kind: "other", message }];
    }
  }

  #gap(message: Message): Notice {
    const channels = this.#followed(message.channels);
    const requested = parsePosition(text(message.requested));
    const earliest = parsePosition(text(message.earliest));
    const reason = message.reason as GapReason;
    this.epoch = earliest.epoch || this.epoch;
    for (const name of channels) {
      const had = this.#subscriptions.get(name);
      if (had)
        this.#put(reason === "epoch" ? cross(had, requested, earliest) : apply(had, "gap", earliest)[0]);
    }
    return { kind: "gap", channels, requested, earliest, reason };
  }

  #established(message: Message): Notice[] {
    const notices: Notice[] = [];
    for (const had of this.#subscriptions.values()) {
      this.#put(take({ ...had, automatic: false }, "disconnected")[0]);
    }
    this.userChannel = `user:${text(message.user_id)}`;
    for (const entry of message.subscriptions as { channel: string; position: string; live: boolean }[]) {
      notices.push(...this.#begin(entry.channel, parsePosition(entry.position), entry.live));
    }
    return [
      {
        kind: "established",
        connectionId: String(message.connection_id),
        userId: String(message.user_id),
        node: String(message.node ?? ""),
        heartbeatMs: Number(message.heartbeat_seconds) * 1000,
      },
      ...notices,
    ];
  }

  /** The connection itself begins a channel. */
  #begin(channel: string, position: Position, live: boolean): Notice[] {
    let had = this.#put({ ...this.#get(channel), automatic: true });
    const before = positionOf(had, this.epoch);
    // With `after` it is only what was asked for.
    if (!this.#broughtBack || !this.epoch) this.epoch = position.epoch;
    if (had.held) return [{ kind: "ask", message: this.#unsubscribeMessage(channel) }];
    // One that was asked for from its own position counts from the answer on: live, it would begin too late.
    if (this.#asksForStart(channel)) return [];
    const owed = channel === this.userChannel && this.#offline === "owed";
    if (owed) {
      // Where it was cut short it goes on from what came, whatever another client with the same cursor has confirmed
      // meanwhile, and whether or not the service can have offline messages now.
      if (liesBefore(had, position)) return [{ kind: "ask", message: this.#ask(had) }];
      // It had begun live and never heard why: nothing came, and what is owed lies below.
      if (!live && !this.#fromCursor) had = forget(had);
      this.#fromCursor = !live || (this.#fromCursor && had.epoch === position.epoch);
      this.#offline = live ? "owed" : "coming";
      this.#beganLive = live;
    }
    const [next, crossed] = apply(had, live ? "begun_live" : "begun_behind", position);
    this.#put(next);
    const begun: Notice = { kind: "begun", channel, position, before, recovered: undefined, answers: false };
    return crossed ? [this.#unannounced(channel, position), begun] : [begun];
  }

  #result(message: Message): Notice[] {
    const channel = text(message.channel);
    const asked = this.#answered(message.ref, "subscribe", channel);
    if (message.subscribed !== true && asked?.verb !== VOID)
      return [this.#ended(channel, String(message.reason ?? "refused"))];
    const position = parsePosition(text(message.position));
    const had = this.#get(channel);
    const before = positionOf(had, this.epoch);
    const notices: Notice[] = [];
    if (had.held || asked?.verb === VOID) return notices;
    if (asked?.rewind) {
      const start = had.start === asked.rewind ? undefined : had.start;
      this.#put(beginAgain({ ...had, start }, position));
      if (channel === this.userChannel) {
        this.#offline = "whole";
        this.#fromCursor = true;
      }
    } else {
      if (!asked?.withStart) this.epoch ||= position.epoch;
      const input = asked?.withStart ? "result_with_start" : "result_without_start";
      const [next, crossed] = apply(had, input, position);
      this.#put(next);
      // It goes on from where the durable cursor had it begin; else something below that is left to the next client.
      const goesOn = channel === this.userChannel && asked?.withStart && this.#offline !== "delayed";
      if (goesOn) this.#offline = this.#fromCursor ? "whole" : "delayed";
      if (crossed) notices.push(this.#unannounced(channel, position));
    }
    const answers = this.#get(channel).start === undefined;
    const recovered = message.recovered as boolean | undefined;
    return [...notices, { kind: "begun", channel, position, before, recovered, answers }];
  }

  #unsubscribed(message: Message): Notice[] {
    const channel = text(message.channel);
    this.#answered(message.ref, "unsubscribe", channel);
    const ended: Notice = { kind: "ended", channel, reason: undefined };
    const had = this.#subscriptions.get(channel);
    if (!had) return [ended];
    const next = this.#put(take(had, "ended")[0]);
    // It was asked before the greeting, which made it an automatic one: as such it is wanted.
    const isWanted = next.automatic && !next.held && !this.#isAsked(channel);
    return isWanted ? [ended, { kind: "ask", message: this.#ask(next) }] : [ended];
  }

  #error(message: Message): Notice[] {
    const retry = message.retry_after;
    const retryAfterMs = typeof retry === "number" ? retry * 1000 : undefined;
    const said = String(message.message ?? "the server gave no reason");
    const code = String(message.code ?? "error");
    if (this.#isDelay(message)) {
      return [{ kind: "offline_delayed", channel: this.userChannel, message: said, retryAfterMs }];
    }
    const asked = this.#answered(message.ref);
    if (!asked) return [{ kind: "other", message }];
    if (asked.verb === VOID) return [];
    const [next] = take(this.#get(asked.channel), "refused");
    const ends = asked.verb === "subscribe" && retryAfterMs === undefined;
    this.#put(ends ? { ...next, wanted: false, start: undefined } : next);
    return [{ kind: "refused", channel: asked.channel, message: said, code, retryAfterMs }];
  }

  /** Right behind a user channel that began live the server says that offline messages are delayed; else there are none. */
  #explain(message: Message): void {
    this.#beganLive = false;
    this.#offline = this.#isDelay(message) ? "delayed" : "whole";
  }

  #isDelay(message: Message): boolean {
    const isError = message.type === "error" && message.ref === undefined;
    return isError && message.channel === this.userChannel && message.retry_after !== undefined;
  }

  #ended(channel: string, reason: string): Notice {
    // The server's own doing, so the next connection does not ask again.
    this.#put(take({ ...this.#get(channel), wanted: false, start: undefined }, "ended")[0]);
    return { kind: "ended", channel, reason };
  }

  #apply(input: Input, channels: readonly string[], token: unknown): Notice[] {
    if (token === undefined) return [];
    const position = parsePosition(text(token));
    this.epoch = position.epoch || this.epoch;
    const gaps: Notice[] = [];
    for (const name of channels) {
      const had = this.#subscriptions.get(name);
      if (!had) continue;
      const [next, crossed] = apply(had, input, position, this.#isSparse(name));
      this.#put(next);
      if (crossed) gaps.push(this.#unannounced(name, position));
    }
    return gaps;
  }

  /** Another epoch without the gap that announces it: say so rather than lose what offsets would hide. */
  #unannounced(channel: string, position: Position): Notice {
    this.epoch = position.epoch;
    return { kind: "gap", channels: [channel], requested: EARLIEST, earliest: position, reason: "epoch" };
  }

  /** Offline messages are not all of the channel: the output of tasks is left out. */
  #isSparse(channel: string): boolean {
    return channel === this.userChannel && this.#offline === "coming";
  }

  #lacksPartitions({ offsets }: Subscription): boolean {
    return offsets !== undefined && offsets.size < this.#partitions;
  }

  #comesByItself(subscription: Subscription): boolean {
    const { channel, automatic, offsets } = subscription;
    if (automatic && !offsets) return true;
    if (this.#broughtBack) return automatic && !this.#lacksPartitions(subscription);
    return channel === this.userChannel && this.#offline === "owed";
  }

  #end(channel: string): Message {
    this.#put(take(this.#get(channel), "ended")[0]);
    for (const [ref, asked] of this.#questions) {
      if (asked.channel === channel && asked.verb === "subscribe")
        this.#questions.set(ref, { ...asked, verb: VOID });
    }
    return this.#unsubscribeMessage(channel);
  }

  #unsubscribeMessage(channel: string): Message {
    const ref = this.#question({ channel, verb: "unsubscribe", withStart: false, rewind: undefined });
    return { type: "unsubscribe", channel, ref };
  }

  #ask({ channel, state, start, ...had }: Subscription): Message {
    const position = had.offsets && positionOf({ channel, state, start, ...had }, this.epoch);
    const from = start ?? (position && state === "idle" ? { after: formatPosition(position) } : undefined);
    const ref = this.#question({ channel, verb: "subscribe", withStart: from !== undefined, rewind: start });
    return { type: "subscribe", channel, ref, ...from };
  }

  #question(question: Question): string {
    this.#refs += 1;
    const ref = `s${this.#refs}`;
    this.#questions.set(ref, question);
    return ref;
  }

  /** The question that is answered, also by a server that gives no `ref` back: answers come in the order of questions. */
  #answered(ref: unknown, verb?: Question["verb"], channel?: string): Question | undefined {
    let key = ref;
    if (key === undefined && verb) {
      for (const [known, asked] of this.#questions) {
        const isOf = asked.verb === verb || (asked.verb === VOID && verb === "subscribe");
        if (isOf && asked.channel === channel) {
          key = known;
          break;
        }
      }
    }
    const asked = this.#questions.get(String(key));
    this.#questions.delete(String(key));
    return asked;
  }

  #asksForStart(channel: string): boolean {
    return this.#isAsked(channel, true);
  }

  /** Whether an answer to a `subscribe` of the channel is still to come. */
  #isAsked(channel: string, withStart = false): boolean {
    for (const asked of this.#questions.values()) {
      const isOf = asked.channel === channel && asked.verb === "subscribe";
      if (isOf && (asked.withStart || !withStart)) return true;
    }
    return false;
  }

  #after(): string | undefined {
    const automatic = [...this.#subscriptions.values()].filter(
      (had) => had.automatic && !had.held && had.offsets,
    );
    // One that lacks partitions wants all that is held of them; with it in the smallest, nobody would be told what is gone.
    this.#partitions = Math.max(0, ...automatic.map(({ offsets }) => offsets?.size ?? 0));
    const positions = automatic
      .filter((had) => !this.#lacksPartitions(had))
      .map((had) => positionOf(had, this.epoch) as Position);
    if (positions.length === 0) return undefined;
    // Where some have crossed into a new epoch and some have not, only the old token brings the gap.
    const epochs = positions.map(({ epoch }) => epoch).filter((epoch) => epoch !== "");
    const epoch = epochs.find((one) => one !== this.epoch) ?? epochs[0] ?? "";
    const same = positions.filter((position) => position.epoch === epoch || position.epoch === "");
    return formatPosition({ epoch, offsets: same.map(({ offsets }) => offsets).reduce(lowered) });
  }

  /**
   * Those of the channels that have a stream here. What is still said of one that was given up concerns nobody: that it
   * has come to its end, above all, when not all of that was taken.
   */
  #followed(channels: unknown): readonly string[] {
    return names(channels).filter((name) => this.state(name) !== "idle");
  }

  #get(channel: string): Subscription {
    return this.#subscriptions.get(channel) ?? newSubscription(channel);
  }

  #put(subscription: Subscription): Subscription {
    this.#subscriptions.set(subscription.channel, subscription);
    return subscription;
  }
}

function names(value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError("a message without its channels");
  return value as string[];
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("a message without a text that it should have");
  return value;
}
