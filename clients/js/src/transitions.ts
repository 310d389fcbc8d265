/**
 * The states of one subscription, seen from the client, and what each message does to it.
 *
 * `TRANSITIONS[state][input]` is written out in full, and does not compile with a cell missing: what a message does
 * to a channel depends on nothing else.
 */

/**
 * What a subscription is on the present connection: not subscribed (its position is kept all the same), catching up
 * (replayed events count where they name it), or live (live events of its channel count too).
 */
export type SubscriptionState = "idle" | "catching_up" | "live";

/** What can happen to a subscription. */
export type Input =
  /** `connection_established` names it with `live` true, or false. */
  | "begun_live"
  | "begun_behind"
  /** `subscription_result` to a `subscribe` with, or without, a start. */
  | "result_with_start"
  | "result_without_start"
  /** An `error` in answer to its `subscribe` or `unsubscribe`. */
  | "refused"
  /** An event without `replay` that has the channel among its `channels`; one whose `replay` names it. */
  | "live_event"
  | "replayed_event"
  | "ping"
  | "caught_up"
  | "fell_behind"
  | "gap"
  /** `unsubscribed`, `unsubscription_result`, a refusal as result, or the client reads it no more. */
  | "ended"
  | "disconnected";

/**
 * What happens to the position: nothing; the component-wise maximum with the message's; the same, or where the caller
 * named the start, set to the message's; counted if it lies above; as `raise`, but set with reason `epoch`.
 */
export type Effect = "keep" | "raise" | "begin" | "count" | "gap";

export type Step = readonly [state: SubscriptionState, effect: Effect];

const KEEP_IDLE: Step = ["idle", "keep"];

export const TRANSITIONS: { readonly [S in SubscriptionState]: { readonly [I in Input]: Step } } = {
  idle: {
    begun_live: ["live", "raise"],
    begun_behind: ["catching_up", "raise"],
    result_with_start: ["catching_up", "begin"],
    result_without_start: ["live", "raise"],
    refused: KEEP_IDLE,
    live_event: KEEP_IDLE,
    replayed_event: KEEP_IDLE,
    ping: KEEP_IDLE,
    caught_up: KEEP_IDLE,
    fell_behind: KEEP_IDLE,
    gap: KEEP_IDLE,
    ended: KEEP_IDLE,
    disconnected: KEEP_IDLE,
  },
  catching_up: {
    begun_live: ["live", "raise"],
    begun_behind: ["catching_up", "raise"],
    result_with_start: ["catching_up", "begin"],
    result_without_start: ["catching_up", "raise"],
    refused: ["catching_up", "keep"],
    live_event: ["catching_up", "keep"],
    replayed_event: ["catching_up", "count"],
    ping: ["catching_up", "keep"],
    caught_up: ["live", "raise"],
    fell_behind: ["catching_up", "raise"],
    gap: ["catching_up", "gap"],
    ended: KEEP_IDLE,
    disconnected: KEEP_IDLE,
  },
  live: {
    begun_live: ["live", "raise"],
    begun_behind: ["catching_up", "raise"],
    result_with_start: ["catching_up", "begin"],
    result_without_start: ["live", "raise"],
    refused: ["live", "keep"],
    live_event: ["live", "count"],
    replayed_event: ["live", "count"],
    ping: ["live", "raise"],
    caught_up: ["live", "raise"],
    fell_behind: ["catching_up", "raise"],
    gap: ["live", "gap"],
    ended: KEEP_IDLE,
    disconnected: KEEP_IDLE,
  },
};
