/** What a client tells its handlers, by name. */

import type { ClientState } from "./connecting.js";
import type { LastseenError } from "./errors.js";
import type { EventOf, LastseenEvent } from "./events.js";
import type { Gap, Message } from "./notices.js";

export type { ClientState };

export interface ClientEvents {
  state: ClientState;
  connected: { readonly connectionId: string; readonly userId: string; readonly node: string };
  disconnected: { readonly code: number; readonly reason: string; readonly willReconnect: boolean };
  reconnecting: { readonly attempt: number; readonly delayMs: number; readonly reason: string };
  /** It comes back no more: after so many attempts, or because the service does not want it. */
  reconnect_failed: LastseenError;
  error: LastseenError;
  /** Every event once, and every message of a type that the protocol does not name. */
  message: LastseenEvent | Message;
  gap: Gap;
  caught_up: { readonly channels: readonly string[]; readonly closed: boolean };
  fell_behind: { readonly channels: readonly string[] };
  subscribed: {
    readonly channel: string;
    readonly position: string;
    readonly recovered: boolean | undefined;
  };
  /** `reason` is the server's; undefined where `unsubscribe` asked for it. */
  unsubscribed: { readonly channel: string; readonly reason: string | undefined };
}

/** What `on(name)` calls its handler with: for the client's own names as above, else the event of that type. */
export type HandledBy<K extends string> = K extends keyof ClientEvents ? ClientEvents[K] : EventOf<K>;

/** Names of the client's own: an event of such a type goes to `message` and to its channels only. */
export const OWN_NAMES: ReadonlySet<string> = new Set<keyof ClientEvents>([
  "state",
  "connected",
  "disconnected",
  "reconnecting",
  "reconnect_failed",
  "error",
  "message",
  "gap",
  "caught_up",
  "fell_behind",
  "subscribed",
  "unsubscribed",
]);
