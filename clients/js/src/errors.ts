/** The errors of the client. `code` says what to do; it is the protocol's where the service has said it. */

/** Codes that the client gives itself; any other is the service's. */
export type ClientErrorCode =
  /** `disconnect` was called, or the client has given up. */
  | "closed"
  /** The token is not accepted, or could not be had. */
  | "authentication"
  /** The service closed the connection for good; `closeCode` has its code. */
  | "rejected"
  /** The server ended a subscription: the reason is in `reason`. */
  | "unsubscribed"
  /** Too much waits for an answer. */
  | "too_many_waiting"
  /** A message of the service, or its answer, was not understood. */
  | "protocol"
  /** A handler has thrown; its error is the `cause`. */
  | "handler"
  /** The service can't be reached over HTTP. */
  | "unavailable"
  | "aborted";

export interface ErrorDetails {
  readonly channel?: string | undefined;
  readonly reason?: string | undefined;
  readonly closeCode?: number | undefined;
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export class LastseenError extends Error {
  declare readonly code: ClientErrorCode | (string & {});
  declare readonly channel: string | undefined;
  declare readonly reason: string | undefined;
  declare readonly closeCode: number | undefined;
  /** The HTTP status, of a call over HTTP. */
  declare readonly status: number | undefined;
  /** The same may be asked again after so long. */
  declare readonly retryAfterMs: number | undefined;

  constructor(message: string, code: ClientErrorCode | (string & {}), details: ErrorDetails = {}) {
    const { cause, ...more } = details;
    super(message, cause === undefined ? undefined : { cause });
    this.name = "LastseenError";
    Object.assign(this, more, { code });
  }
}
