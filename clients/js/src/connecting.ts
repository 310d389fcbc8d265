/**
 * The life of a client's connections as a pure machine: immutable states, and a table that does not compile with a
 * cell missing. Time and randomness come with the events.
 */

import { returnWindow, whenToReturn } from "./close-codes.js";

/** `connecting`: until the greeting; `reconnecting`: it waits for its next attempt; `failed`: for good, until `connect`. */
export type ClientState = "idle" | "connecting" | "connected" | "reconnecting" | "failed";

export interface Connecting {
  readonly phase: ClientState;
  /** Attempts to come back, in a row. */
  readonly attempts: number;
  /** Whether another token was taken since the last greeting. */
  readonly renewed: boolean;
  /** When the connection was greeted, in ms. */
  readonly since: number;
}

export type ConnectingEvent =
  | { readonly type: "connect" }
  | { readonly type: "disconnect" }
  | { readonly type: "greeted"; readonly now: number }
  /**
   * The connection is gone, or none came about. `dropped`: this side gave it up. `canRenew`: another token can be had.
   * `givesWay`: something was changed, so that even a refusal for good is not one.
   */
  | {
      readonly type: "closed";
      readonly code: number;
      readonly reason: string;
      readonly dropped: boolean;
      readonly canRenew: boolean;
      readonly givesWay: boolean;
      readonly now: number;
      readonly random: number;
    }
  /** The wait is over, or the network is said to be back. */
  | { readonly type: "due" };

export interface Policy {
  readonly autoReconnect: boolean;
  readonly maxAttempts: number;
  /** In ms. */
  readonly base: number;
  readonly cap: number;
}

export type Action =
  | { readonly do: "nothing" }
  | { readonly do: "open" }
  | { readonly do: "close" }
  | { readonly do: "wait"; readonly ms: number; readonly attempt: number }
  /** `gave_up`: after so many attempts; `rejected`: the service does not want it; `ended`: it does not come back by itself. */
  | { readonly do: "end"; readonly why: "gave_up" | "rejected" | "ended" };

export type Turn = readonly [Connecting, Action];
type EventName = ConnectingEvent["type"];
type Cell<E> = (state: Connecting, event: E, policy: Policy) => Turn;

/** A connection that lasted so long went well: the back-off starts small again. */
const STEADY_MS = 10_000;
const MAX_DOUBLINGS = 32;

export const IDLE: Connecting = { phase: "idle", attempts: 0, renewed: false, since: 0 };

const stay: Cell<unknown> = (state) => [state, { do: "nothing" }];
const open: Cell<unknown> = (state) => [{ ...state, phase: "connecting" }, { do: "open" }];
const begin: Cell<unknown> = (state, event, policy) => open({ ...IDLE, since: state.since }, event, policy);
const close: Cell<unknown> = () => [IDLE, { do: "close" }];
const greet: Cell<{ readonly now: number }> = (state, { now }) => [
  { ...state, phase: "connected", since: now },
  { do: "nothing" },
];

const lose: Cell<Extract<ConnectingEvent, { type: "closed" }>> = (state, event, policy) => {
  const wasOpen = state.phase === "connected";
  const back = event.dropped ? "at_once" : whenToReturn(event.code, event.reason);
  const inVain = back === "renew" && (!event.canRenew || (state.renewed && !wasOpen));
  if (inVain || (back === "never" && !event.givesWay)) {
    return [
      { ...IDLE, phase: "failed" },
      { do: "end", why: "rejected" },
    ];
  }
  if (!policy.autoReconnect) return [IDLE, { do: "end", why: "ended" }];
  const went = wasOpen && (back === "at_once" || event.now - state.since >= STEADY_MS);
  const attempts = went ? 0 : state.attempts;
  if (attempts >= policy.maxAttempts)
    return [
      { ...IDLE, phase: "failed" },
      { do: "end", why: "gave_up" },
    ];
  const step = Math.min(policy.cap, policy.base * 2 ** Math.min(attempts, MAX_DOUBLINGS));
  // A node that goes away knows how many come back with this client.
  const ms = (returnWindow(event.code, event.reason) ?? step) * event.random;
  return [
    {
      phase: "reconnecting",
      attempts: attempts + 1,
      renewed: back === "renew" || (state.renewed && !wasOpen),
      since: state.since,
    },
    { do: "wait", ms, attempt: attempts + 1 },
  ];
};

const TABLE: {
  readonly [P in ClientState]: { readonly [N in EventName]: Cell<Extract<ConnectingEvent, { type: N }>> };
} = {
  idle: { connect: begin, disconnect: stay, greeted: stay, closed: stay, due: stay },
  connecting: { connect: stay, disconnect: close, greeted: greet, closed: lose, due: stay },
  connected: { connect: stay, disconnect: close, greeted: stay, closed: lose, due: stay },
  reconnecting: { connect: open, disconnect: close, greeted: stay, closed: stay, due: open },
  failed: { connect: begin, disconnect: close, greeted: stay, closed: stay, due: stay },
};

/** The state that follows, and what is to be done. */
export function turn(state: Connecting, event: ConnectingEvent, policy: Policy): Turn {
  const cell = TABLE[state.phase][event.type] as Cell<ConnectingEvent>;
  return cell(state, event, policy);
}
