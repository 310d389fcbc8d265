/**
 * The client's side of a conversation, decided purely: no I/O, no clock. It outlives its connections.
 *
 * `resume()` says with which position to connect and `requests()` what to send then, every message of the server
 * goes through `receive()`, and `disconnected()` ends the connection. What it hands out is each event once per channel, in the order of the log,
 * whatever the connection does: the rules of the protocol's "What a client must do".
 */

import type { Message, Notice } from "./notices.js";
import { Offline } from "./offline.js";
import { formatPosition, type Position, smallestOf } from "./positions.js";
import { Questions } from "./questions.js";
import { receive } from "./receiving.js";
import {
  forget,
  newSubscription,
  positionOf,
  type Start,
  type Subscription,
  take,
  wasHad,
} from "./subscription.js";

/** Beyond so many, an event that one of them has delivered may come to the handlers of `on` once more. */
const MAX_LEFT = 1_000;

export class Session {
  /** The server's epoch, as last heard. */
  epoch = "";
  /** Whether the present connection came with a position. */
  broughtBack = false;
  readonly offline: Offline = new Offline();
  readonly questions: Questions = new Questions();
  readonly #subscriptions = new Map<string, Subscription>();
  /** Channels that were removed: what they had delivered is no news on the others. */
  readonly #left = new Map<string, Subscription>();
  /** Whose positions the `after` of the last connect was made of. */
  readonly #brought = new Set<string>();

  /**
   * Want a channel; the message that says so. With a start, its position is forgotten when the server confirms it:
   * what was seen comes again. Without one, a channel goes on from its position; a new one begins live.
   */
  subscribe(channel: string, start?: Start): Message {
    this.#left.delete(channel);
    return this.ask(this.#change(channel, { wanted: true, held: false, ...(start && { start }) }));
  }

  /** Want nothing of it, on this connection and later ones; the message that says so. The position is kept. */
  unsubscribe(channel: string): Message {
    this.#change(channel, { wanted: false, start: undefined });
    return this.hold(channel);
  }

  /** As `unsubscribe`, and where it was is not known any more. */
  remove(channel: string): Message {
    const message = this.hold(channel);
    this.#left.set(channel, this.get(channel));
    this.#subscriptions.delete(channel);
    for (const oldest of this.#left.keys()) {
      if (this.#left.size <= MAX_LEFT) break;
      this.#left.delete(oldest);
    }
    return message;
  }

  /** As `unsubscribe`, for a while: `subscribe` goes on from the position, or with the start that was not confirmed. */
  hold(channel: string): Message {
    this.put(take(this.#change(channel, { held: true }), "ended")[0]);
    this.questions.giveUp(channel);
    return this.end(channel);
  }

  /** Nobody takes its events any more; the connection may keep it all the same. */
  leave(channel: string): void {
    this.#change(channel, { wanted: false, held: false, start: undefined });
  }

  /** No start of it is asked for any more. */
  waive(channel: string): void {
    this.#change(channel, { start: undefined });
  }

  forget(channel: string): void {
    this.#left.delete(channel);
    this.put(forget(this.get(channel)));
  }

  /** Where a channel stood in an earlier session, or was given up: it goes on there. */
  rewind(channel: string, { epoch, offsets }: Position): void {
    this.#brought.delete(channel);
    this.#change(channel, { epoch, offsets });
  }

  /** These channels will be subscribed by the connection itself, and the first of them is the own user's. */
  expect(channels: readonly string[]): void {
    const [own = ""] = channels;
    this.offline.channel = own;
    if (this.get(own).offsets) this.offline.settle(own);
    for (const channel of channels) this.#change(channel, { automatic: true });
  }

  /** Up to where a channel was delivered; undefined before it began. */
  position(channel: string): Position | undefined {
    return positionOf(this.get(channel), this.epoch);
  }

  /** What is known of a channel; of one that nobody has named yet, that. */
  get(channel: string): Subscription {
    return this.#subscriptions.get(channel) ?? newSubscription(channel);
  }

  /** Those that were named. */
  get channels(): readonly string[] {
    return [...this.#subscriptions.keys()];
  }

  /** A new connection is made: the `after` of its address. */
  resume(): string | undefined {
    this.disconnected();
    const after = this.offline.stage === "owed" ? undefined : this.#after();
    this.broughtBack = after !== undefined;
    return after;
  }

  /** The connection is open: what to send first, in this order. */
  requests(): Message[] {
    this.questions.clear();
    return this.#all
      .filter(
        (had) =>
          !had.held &&
          (had.wanted || had.automatic) &&
          (had.start !== undefined || !this.#comesByItself(had)),
      )
      .map((had) => this.ask(had));
  }

  /** The connection is gone: nothing is subscribed, every position stays. */
  disconnected(): void {
    this.questions.clear();
    this.offline.disconnected();
    for (const had of this.#all) {
      const [next] = take(had, "disconnected");
      this.put(next.offsets?.size && !next.epoch ? { ...next, epoch: this.epoch } : next);
    }
  }

  /** Take the next message of the server; what follows from it, in order. Throws on one that is not of the protocol. */
  receive(message: Message): Notice[] {
    return receive(this, message);
  }

  /** For what a message does: the subscription as it is from here on. */
  put(subscription: Subscription): Subscription {
    this.#subscriptions.set(subscription.channel, subscription);
    return subscription;
  }

  /** For what a message does: the message that asks for a channel, from where it stands. */
  ask(had: Subscription): Message {
    const { channel, start } = had;
    const position = positionOf(had, this.epoch);
    const from =
      start ?? (position && had.state === "idle" ? { after: formatPosition(position) } : undefined);
    return {
      type: "subscribe",
      channel,
      ref: this.questions.add(channel, "subscribe", from !== undefined, start),
      ...from,
    };
  }

  /** For what a message does: the message that ends a channel. */
  end(channel: string): Message {
    return { type: "unsubscribe", channel, ref: this.questions.add(channel, "unsubscribe") };
  }

  /** Whether any channel has delivered an event, among them those that were removed. */
  wasHad(channels: readonly string[], epoch: string, partition: number, offset: number): boolean {
    return channels.some((channel) => {
      const had = this.#subscriptions.get(channel) ?? this.#left.get(channel);
      return had !== undefined && wasHad(had, epoch, partition, offset);
    });
  }

  get #all(): readonly Subscription[] {
    return [...this.#subscriptions.values()];
  }

  #change(channel: string, change: Partial<Subscription>): Subscription {
    return this.put({ ...this.get(channel), ...change });
  }

  #comesByItself(subscription: Subscription): boolean {
    const { channel, automatic, offsets } = subscription;
    if (automatic && !offsets) return true;
    if (this.broughtBack) return automatic && this.#brought.has(channel);
    return this.offline.owes(channel);
  }

  #after(): string | undefined {
    const had = this.#all.filter(({ automatic, held, offsets }) => automatic && !held && offsets);
    // One that lacks partitions wants all that is held of them; with it in the smallest, nobody would be told what is gone.
    const partitions = new Set(had.flatMap(({ offsets }) => [...(offsets ?? new Map()).keys()])).size;
    const whole = had.filter(({ offsets }) => offsets?.size === partitions);
    this.#brought.clear();
    for (const { channel } of whole) this.#brought.add(channel);
    const positions = whole.map((one) => positionOf(one, this.epoch) as Position);
    return positions.length > 0 ? formatPosition(smallestOf(positions, this.epoch)) : undefined;
  }
}
