/** One following of a channel in a tab: what it has had, and the follower of the caller's that is given it. */

import type { LastseenEvent } from "../events.js";
import type { Follower, FollowerPort } from "../follower.js";
import { EARLIEST, formatPosition, hasSeen, type Position, parsePosition, raised } from "../positions.js";
import { includes, type Ranges, withRange } from "../ranges.js";
import type { Start } from "../subscription.js";
import type { SubscriptionState } from "../transitions.js";

/** Beyond so many, an event that came so may come to the handlers of `on` once more. */
const MAX_RANGES = 1_000;

export interface FollowingPort {
  follow(following: Following): void;
  /** Nothing of it is wanted any more. */
  leave(following: Following): void;
  /** Nothing of it is wanted for now. */
  hold(following: Following): void;
  guard(call: () => void): void;
}

export class Following implements FollowerPort {
  /** By which the leader knows it; undefined while nothing of it is wanted. */
  key: string | undefined;
  /** Whoever is given what comes; a following for the handlers of `on` alone has none. */
  follower: Follower | undefined;
  readonly #port: FollowingPort;
  readonly #channel: string;
  /** Where it began, and up to where it has come. */
  #base: Position | undefined;
  #at: Position | undefined;
  #state: SubscriptionState = "idle";
  /** What it has delivered, where its position passes over what it has not. */
  #single: { readonly epoch: string; readonly ranges: Map<number, Ranges> } = {
    epoch: "",
    ranges: new Map(),
  };

  constructor(port: FollowingPort, channel = "") {
    this.#port = port;
    this.#channel = channel;
  }

  get channel(): string {
    return this.follower?.channel ?? this.#channel;
  }

  /** Of what came to the user while away the output of tasks is left out. */
  get #isSparse(): boolean {
    return this.channel.startsWith("user:");
  }

  /** From where it goes on. */
  get start(): Start | undefined {
    return this.#at ? { after: formatPosition(this.#at) } : this.follower?.start;
  }

  /** It stands at a position now; undefined where the leader knows none. */
  moved(token: string | undefined, state: SubscriptionState | "ended"): void {
    if (state !== "ended") this.#state = state;
    if (token === undefined) return;
    const position = parsePosition(token);
    this.#at = this.#at ? onwards(this.#at, position) : position;
    if (this.#base) return;
    this.#base = position;
    this.follower?.began(position);
  }

  /** It delivers an event, and stands behind it. */
  delivers(
    { partition, offset }: LastseenEvent,
    token: string | undefined,
    state: SubscriptionState | "ended",
  ): void {
    this.moved(token, state);
    if (!this.#isSparse) return;
    const epoch = this.#at?.epoch ?? "";
    if (this.#single.epoch !== epoch) this.#single = { epoch, ranges: new Map() };
    const ranges = withRange(this.#single.ranges.get(partition) ?? [], offset - 1, offset);
    this.#single.ranges.set(partition, ranges.slice(-MAX_RANGES));
  }

  /** Whether it has delivered an event. */
  wasHad(epoch: string, partition: number, offset: number): boolean {
    if (this.#isSparse)
      return this.#single.epoch === epoch && includes(this.#single.ranges.get(partition), offset);
    const at = this.#at ?? EARLIEST;
    const base = this.#base ?? EARLIEST;
    if (at.epoch !== epoch || !hasSeen(at.offsets, partition, offset)) return false;
    return base.epoch !== epoch || !hasSeen(base.offsets, partition, offset);
  }

  position(): Position | undefined {
    return this.#at;
  }

  state(): SubscriptionState {
    return this.key === undefined ? "idle" : this.#state;
  }

  leave(): void {
    this.#port.leave(this);
  }

  hold(): void {
    this.#port.hold(this);
  }

  drained(): void {
    if (this.key === undefined && this.follower?.ended === false) this.#port.follow(this);
  }

  guard(call: () => void): void {
    this.#port.guard(call);
  }
}

/** Nothing lowers a position within an epoch: the channel may have begun again for somebody else. */
function onwards(at: Position, { epoch, offsets }: Position): Position {
  if (!epoch) return at;
  return at.epoch && at.epoch !== epoch
    ? { epoch, offsets }
    : { epoch, offsets: raised(at.offsets, offsets) };
}
