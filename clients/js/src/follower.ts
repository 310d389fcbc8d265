/** What a caller holds of a channel: a subscription with handlers, or a stream to iterate. */

import type { LastseenError } from "./errors.js";
import type { LastseenEvent } from "./events.js";
import type { Gap } from "./notices.js";
import { formatPosition, hasSeen, type Position, parsePosition, raised } from "./positions.js";
import type { Start } from "./subscription.js";
import type { SubscriptionState } from "./transitions.js";

/**
 * Where to begin: at most one of them. Without any a channel begins now, or goes on where the `storage` of the client
 * says that it was left.
 */
export type StartOptions = {
  /** A position token, after which everything comes; `"earliest"`: everything that is held. */
  readonly after?: string | undefined;
  /** A time of appending, RFC 3339. */
  readonly since?: string | undefined;
  /** So many of the last events, 1–1,000. */
  readonly last?: number | undefined;
};

export interface SubscribeOptions extends StartOptions {
  /** Each event once, in the order of the channel. */
  readonly onEvent?: ((event: LastseenEvent) => void) | undefined;
  readonly onGap?: ((gap: Gap) => void) | undefined;
  /** Everything up to now has come; `closed`: the task has ended, and nothing more will. */
  readonly onCaughtUp?: ((closed: boolean) => void) | undefined;
  /** Nothing more will come: the task has ended, `unsubscribe` was called, or the error says why. */
  readonly onEnd?: ((error: LastseenError | undefined) => void) | undefined;
}

/** What followers are given by the client. */
export interface FollowerPort {
  /** The position of their channel. */
  position(channel: string): Position | undefined;
  state(channel: string): SubscriptionState;
  /** They want no more of it. */
  leave(follower: Follower): void;
  /** They take no more for now; and now they do again. */
  hold(follower: Follower): void;
  drained(follower: Follower): void;
  /** Call a handler of the caller's, whatever it does. */
  guard(call: () => void): void;
}

export abstract class Follower {
  readonly channel: string;
  readonly start: Start | undefined;
  /** Whether what comes belongs to it: with a start, from the server's answer on. */
  begun: boolean;
  /** What it has had although the channel has begun again before it, or what its own start leaves out. */
  floor: Position | undefined;
  protected readonly port: FollowerPort;
  #ended = false;

  constructor(port: FollowerPort, channel: string, start: Start | undefined) {
    this.port = port;
    this.channel = channel;
    this.start = start;
    this.begun = start === undefined;
  }

  /** Whether nothing more will come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The token to resume after the last event that was handed out; undefined before it began. */
  get position(): string | undefined {
    const position = this.reached;
    return position && formatPosition(position);
  }

  /** The same, as a value. */
  get reached(): Position | undefined {
    const position = this.begun ? this.port.position(this.channel) : undefined;
    const { floor } = this;
    if (!position || floor?.epoch !== position.epoch) return position;
    return { epoch: floor.epoch, offsets: raised(position.offsets, floor.offsets) };
  }

  /** Whether more of it may be handed over. */
  get hasRoom(): boolean {
    return true;
  }

  /** Whether all that was handed over has been taken. */
  get isTaken(): boolean {
    return true;
  }

  /** Where the channel is on the present connection. */
  get state(): "idle" | "catching_up" | "live" | "ended" {
    return this.#ended ? "ended" : this.port.state(this.channel);
  }

  unsubscribe(): void {
    this.end();
    this.port.leave(this);
  }

  /** For the client: it has had everything up to a position; what comes of it again is not its. */
  raiseFloor({ epoch, offsets }: Position): void {
    if (offsets.size === 0) return; // of `earliest`, which is of no epoch: nothing was had
    const had = this.floor?.epoch === epoch ? raised(this.floor.offsets, offsets) : offsets;
    this.floor = { epoch, offsets: had };
  }

  /** For the client: an event that counts for the channel. */
  take(event: LastseenEvent): void {
    if (this.#ended || !this.begun) return;
    const { floor } = this;
    const isHere = floor && floor.epoch === this.port.position(this.channel)?.epoch;
    if (isHere && hasSeen(floor.offsets, event.partition, event.offset)) return;
    this.deliver(event);
  }

  /** For the client: from this position on, what comes belongs to it. */
  began(_position: Position): void {
    this.begun = true;
  }

  /** For the client: nothing more will come. */
  end(error?: LastseenError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.finished(error);
  }

  /** For the client: no connection comes by itself any more. */
  fail(_error: LastseenError): void {}

  abstract gap(gap: Gap): void;
  abstract caughtUp(closed: boolean): void;
  protected abstract deliver(event: LastseenEvent): void;
  protected abstract finished(error: LastseenError | undefined): void;
}

/** A channel whose events go to handlers: those of its own, and those of `client.on`. */
export class ChannelSubscription extends Follower {
  readonly #options: SubscribeOptions;

  constructor(port: FollowerPort, channel: string, start: Start | undefined, options: SubscribeOptions) {
    super(port, channel, start);
    this.#options = options;
  }

  gap(gap: Gap): void {
    this.port.guard(() => this.#options.onGap?.(gap));
  }

  caughtUp(closed: boolean): void {
    if (this.begun) this.port.guard(() => this.#options.onCaughtUp?.(closed));
  }

  protected deliver(event: LastseenEvent): void {
    this.port.guard(() => this.#options.onEvent?.(event));
  }

  protected finished(error: LastseenError | undefined): void {
    this.port.guard(() => this.#options.onEnd?.(error));
  }
}

/** Checks and reads a start. Throws a TypeError where there is more than one, or where it is no position. */
export function startOf({ after, since, last }: StartOptions): Start | undefined {
  const [start, another] = Object.entries({ after, since, last }).filter(([, one]) => one !== undefined);
  if (another) throw new TypeError("give one of after, since and last");
  if (after !== undefined) parsePosition(after);
  return start && (Object.fromEntries([start]) as Start);
}
