/** What the tabs of a browser say to the one of them that is connected, and what it says to them. */

import type { ClientEvents, ClientState } from "../client-events.js";
import { type ErrorDetails, LastseenError } from "../errors.js";
import type { LastseenEvent } from "../events.js";
import type { Gap, Message } from "../notices.js";
import type { ClientOptions } from "../options.js";
import type { Start } from "../subscription.js";
import type { SubscriptionState } from "../transitions.js";

/** What another tab can be asked to do, by the name of the client's method. */
export type Method =
  | "sendTaskInput"
  | "cancelTask"
  | "pauseTask"
  | "resumeTask"
  | "confirmTask"
  | "presence"
  | "ack";

/** `term`: of the leader whom it is meant for, as far as the tab knows one; another one answers with its own. */
export type ToLeader = { readonly tab: string; readonly term: string | undefined } & (
  | { readonly do: "hello" }
  | { readonly do: "connect" }
  | { readonly do: "bye" }
  /** What the connection itself subscribes is handled here, from these positions on or from now; or it is not. */
  | { readonly do: "read"; readonly after: Readonly<Record<string, string>> | undefined }
  | {
      readonly do: "follow";
      readonly key: string;
      readonly channel: string;
      readonly start: Start | undefined;
    }
  | { readonly do: "leave"; readonly key: string }
  | {
      readonly do: "ask";
      readonly id: number;
      readonly method: Method;
      readonly args: readonly unknown[];
    }
  | { readonly do: "send"; readonly message: Message }
);

/** A term is one leader's time; `key`: one following of a channel by one tab. */
export type FromLeader = { readonly term: string } & (
  | {
      readonly do: "state";
      readonly state: ClientState;
      readonly connected: ClientEvents["connected"] | undefined;
      readonly error: PlainError | undefined;
    }
  | { readonly do: "tell"; readonly name: string; readonly value: unknown }
  | { readonly do: "answer"; readonly tab: string; readonly id: number; readonly value: unknown }
  | { readonly do: "refuse"; readonly tab: string; readonly id: number; readonly error: PlainError }
  | (Followed & { readonly do: "begin" })
  | (Followed & { readonly do: "event"; readonly event: LastseenEvent })
  | (Followed & { readonly do: "gap"; readonly gap: Gap })
  | (Followed & { readonly do: "caught_up"; readonly closed: boolean })
  | (Followed & { readonly do: "end"; readonly error: PlainError | undefined })
);

/** With the position of the following after it, and its state. */
export interface Followed {
  readonly tab: string;
  readonly key: string;
  readonly channel: string;
  readonly position: string | undefined;
  readonly state: SubscriptionState | "ended";
}

export type SharedOptions = Omit<ClientOptions, "storage">;

/** What a tab has of its browser. */
export interface Browser {
  readonly locks: Locks;
  readonly line: (name: string) => Line;
}

/** What goes over the line. */
export type Said = { readonly toLeader: ToLeader } | { readonly fromLeader: FromLeader };

/** An error as it goes from tab to tab. */
export interface PlainError extends Omit<ErrorDetails, "cause"> {
  readonly message: string;
  readonly code: string;
}

export function plain(error: LastseenError): PlainError {
  const { message, code, channel, reason, closeCode, status, retryAfterMs } = error;
  return { message, code, channel, reason, closeCode, status, retryAfterMs };
}

export function errorOf({ message, code, ...details }: PlainError): LastseenError {
  return new LastseenError(message, code, details);
}

/** What is used of a BroadcastChannel. */
export interface Line {
  onmessage: ((event: never) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** What is used of `navigator.locks`. */
export interface Locks {
  request(
    name: string,
    options: { readonly signal: AbortSignal },
    held: () => Promise<void>,
  ): Promise<unknown>;
}
