/** The client of Lastseen for browsers and Node. */

export type { CommandResult } from "./asking.js";
export { type CommandOptions, WebSocketClient } from "./client.js";
export type { ClientEvents, ClientState, HandledBy } from "./client-events.js";
export { type ClientErrorCode, type ErrorDetails, LastseenError } from "./errors.js";
export * from "./events.js";
export type { ChannelSubscription, StartOptions, SubscribeOptions } from "./follower.js";
export type { HistoryOptions, HistoryPage } from "./history.js";
export type { LazyHistory } from "./lazy-history.js";
export type { Gap, GapReason, Message } from "./notices.js";
export type {
  ClientOptions,
  Clock,
  PositionStorage,
  SocketConstructor,
  SocketLike,
  Token,
} from "./options.js";
export { formatPosition, type Offsets, type Position, parsePosition } from "./positions.js";
