/** What a session makes of the server's messages. */

import type { LastseenEvent } from "./events.js";
import type { Position } from "./positions.js";

/** A JSON object of the wire, either way. */
export type Message = { readonly type: string; readonly [name: string]: unknown };

export type GapReason = "retention" | "epoch" | "lost" | "quarantine";

/** Events between the two positions will not come. */
export interface Gap {
  readonly channels: readonly string[];
  readonly requested: string;
  readonly earliest: string;
  readonly reason: GapReason;
}

export type Notice =
  /** An event, once for all the subscribed channels for which it counts now. `isNew`: no other channel brought it before. */
  | {
      readonly kind: "event";
      event: LastseenEvent;
      channels: readonly string[];
      replayed: boolean;
      isNew: boolean;
    }
  /**
   * A subscription began or was confirmed and delivers from `position` on; `before` is where it stood. `answers`: this
   * answers the latest subscribe, else an earlier one, or the connection itself began it. `again`: with a start that
   * was asked for, by whomever; what lies between `position` and `before` comes once more.
   */
  | {
      readonly kind: "begun";
      channel: string;
      position: Position;
      before: Position | undefined;
      recovered: boolean | undefined;
      answers: boolean;
      again: boolean;
    }
  /** The answer to a subscribe was an error; with `retryAfterMs` it may be asked again. */
  | {
      readonly kind: "refused";
      channel: string;
      message: string;
      code: string;
      retryAfterMs: number | undefined;
    }
  /** These channels are live now; `closed`: their task has ended and nothing more will come. */
  | { readonly kind: "caught_up"; channels: readonly string[]; closed: boolean }
  | { readonly kind: "fell_behind"; channels: readonly string[] }
  /** What lies between the two positions will not come; `earliest` is the second of them. */
  | { readonly kind: "gap"; gap: Gap; earliest: Position }
  /** The subscription is over. `reason` is the server's; undefined where the caller asked for it. */
  | { readonly kind: "ended"; channel: string; reason: string | undefined }
  /** To be sent on this connection. */
  | { readonly kind: "ask"; message: Message }
  | {
      readonly kind: "established";
      connectionId: string;
      userId: string;
      node: string;
      heartbeatMs: number;
    }
  | { readonly kind: "ping" }
  | { readonly kind: "token_expiring" }
  /** What came to the user while away can't be had now: the next client gets it. */
  | { readonly kind: "offline_delayed"; channel: string; message: string; retryAfterMs: number | undefined }
  /** Any other message. */
  | { readonly kind: "other"; message: Message };
