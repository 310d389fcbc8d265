/** One subscription, seen from the client: an immutable value, and what follows from what happens to it. */

import { hasSeen, isBehind, NEVER, type Offsets, type Position, raised } from "./positions.js";
import { includes, type Ranges, withRange } from "./ranges.js";
import { type Effect, type Input, type SubscriptionState, TRANSITIONS } from "./transitions.js";

/** Where a channel is to begin: after a position, at a time of appending (RFC 3339), or with its last so many events. */
export type Start =
  | { readonly after: string; readonly since?: never; readonly last?: never }
  | { readonly since: string; readonly after?: never; readonly last?: never }
  | { readonly last: number; readonly after?: never; readonly since?: never };

export interface Subscription {
  readonly channel: string;
  readonly state: SubscriptionState;
  /** The caller subscribed; to be subscribed again on the next connection. */
  readonly wanted: boolean;
  /** `connection_established` named it; the `after` of the next connect brings it back. */
  readonly automatic: boolean;
  /** Nothing of it is wanted for now, whatever the connection begins. */
  readonly held: boolean;
  /** The start that the caller asked for and that no result has confirmed yet. */
  readonly start: Start | undefined;
  /** Empty while only the word `earliest` was heard. */
  readonly epoch: string;
  /** The position; undefined before anything began. */
  readonly offsets: Offsets | undefined;
  /** The epochs that it has crossed out of: their tokens say nothing any more. */
  readonly left: ReadonlySet<string>;
  readonly had: Had;
}

/** What a channel has delivered or passed of an epoch, by partition: whatever of its events lies in it was had. */
export interface Had {
  readonly epoch: string;
  readonly ranges: ReadonlyMap<number, Ranges>;
}

const NOTHING: Had = { epoch: "", ranges: new Map() };

export function newSubscription(channel: string): Subscription {
  return {
    channel,
    state: "idle",
    wanted: false,
    automatic: false,
    held: false,
    start: undefined,
    epoch: "",
    offsets: undefined,
    left: new Set(),
    had: NOTHING,
  };
}

/** The next state, and what is to be done with the position. */
export function take(subscription: Subscription, input: Input): [Subscription, Effect] {
  const [state, effect] = TRANSITIONS[subscription.state][input];
  return [state === subscription.state ? subscription : { ...subscription, state }, effect];
}

/**
 * With an event counted; undefined where it is to be ignored. `epoch` is the server's; `sparse`: what lies between the
 * position and the event was not all of the channel.
 */
export function count(
  subscription: Subscription,
  input: "live_event" | "replayed_event",
  partition: number,
  offset: number,
  epoch: string,
  sparse: boolean,
): Subscription | undefined {
  const offsets = subscription.offsets ?? new Map<number, number>();
  if (TRANSITIONS[subscription.state][input][1] !== "count" || hasSeen(offsets, partition, offset)) {
    return undefined;
  }
  const from = sparse ? offset - 1 : (offsets.get(partition) ?? NEVER);
  return {
    ...subscription,
    offsets: new Map(offsets).set(partition, offset),
    had: withHad(subscription.had, subscription.epoch || epoch, [[partition, from, offset]]),
  };
}

/** Whether an event was delivered already. */
export function wasHad({ had }: Subscription, epoch: string, partition: number, offset: number): boolean {
  return had.epoch === epoch && includes(had.ranges.get(partition), offset);
}

/** After a message that has a position; and whether the channel crossed into another epoch unannounced. */
export function apply(
  subscription: Subscription,
  input: Input,
  position: Position,
  sparse = false,
): [Subscription, crossed: boolean] {
  const [next, effect] = take(subscription, input);
  if (effect === "keep" || effect === "count") return [next, false];
  const served = !sparse && (input === "ping" || input === "caught_up" || input === "fell_behind");
  return raise(served ? passed(next, position) : next, position);
}

/** The server confirmed a start that the caller asked for: what was seen before is forgotten. */
export function beginAgain(subscription: Subscription, position: Position): Subscription {
  return set(take(subscription, "result_with_start")[0], position);
}

/**
 * After a gap with reason `epoch`. A channel that was in the new epoch before keeps what it has there: the request was
 * for the sake of another channel that shared it.
 */
export function cross(subscription: Subscription, requested: Position, earliest: Position): Subscription {
  const [next, effect] = take(subscription, "gap");
  if (effect !== "gap") return next;
  const isThere = next.offsets && next.epoch === earliest.epoch && earliest.epoch !== requested.epoch;
  return isThere ? raise(next, earliest)[0] : set(next, earliest);
}

/** Without a position: what comes next is delivered, seen before or not. */
export function forget(subscription: Subscription): Subscription {
  return { ...subscription, epoch: "", offsets: undefined, had: NOTHING };
}

/** The position; `epoch` is the server's, where the channel has heard none of its own. */
export function positionOf(subscription: Subscription, epoch: string): Position | undefined {
  const { offsets } = subscription;
  return offsets && { epoch: subscription.epoch || (offsets.size ? epoch : ""), offsets };
}

/** Whether something lies between where it stands and a later position of its epoch. */
export function liesBefore(subscription: Subscription, position: Position): boolean {
  const { offsets } = subscription;
  if (!offsets || subscription.epoch !== position.epoch) return false;
  return !isBehind(position.offsets, offsets);
}

function passed(subscription: Subscription, { epoch, offsets }: Position): Subscription {
  if (!subscription.offsets || (subscription.epoch && subscription.epoch !== epoch)) return subscription;
  const moves: [number, number, number][] = [];
  for (const [partition, offset] of offsets) {
    const from = subscription.offsets.get(partition) ?? NEVER;
    if (from < offset) moves.push([partition, from, offset]);
  }
  return moves.length > 0 ? { ...subscription, had: withHad(subscription.had, epoch, moves) } : subscription;
}

function withHad(
  had: Had,
  epoch: string,
  moves: readonly [partition: number, from: number, to: number][],
): Had {
  const ranges = new Map(had.epoch === epoch ? had.ranges : []);
  for (const [partition, from, to] of moves) {
    ranges.set(partition, withRange(ranges.get(partition) ?? [], from, to));
  }
  return { epoch, ranges };
}

function set(subscription: Subscription, { epoch, offsets }: Position): Subscription {
  const left = new Set(subscription.left);
  if (subscription.epoch && subscription.epoch !== epoch) left.add(subscription.epoch);
  left.delete(epoch);
  return { ...subscription, epoch, offsets, left };
}

function raise(subscription: Subscription, position: Position): [Subscription, boolean] {
  if (subscription.epoch && position.epoch && subscription.epoch !== position.epoch) {
    return subscription.left.has(position.epoch)
      ? [subscription, false]
      : [set(subscription, position), true];
  }
  const epoch = subscription.epoch || position.epoch;
  const offsets = subscription.offsets ? raised(subscription.offsets, position.offsets) : position.offsets;
  return [{ ...subscription, epoch, offsets }, false];
}
