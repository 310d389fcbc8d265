/** The entry `@lastseen/client/react`: hooks for React 18 and later. */

export type { ChannelOptions, ChannelState } from "../stores/channel.js";
export type { Connection } from "../stores/connection.js";
export type { FollowState } from "../stores/following.js";
export { type OutputChunk, TaskOutput } from "../stores/output.js";
export type { Presence, PresenceOptions } from "../stores/presence.js";
export type { TaskOptions, TaskSnapshot } from "../stores/task.js";
export { type TaskDoes, type TaskView, taskAfter, taskViewOf, UNKNOWN_TASK } from "../stores/task-view.js";
export { useClient } from "./context.js";
export { LastseenProvider, type LastseenProviderProps } from "./provider.js";
export { useChannel } from "./use-channel.js";
export { type PresenceHook, usePresence } from "./use-presence.js";
export { type TaskActions, type TaskHook, useTaskWebSocket } from "./use-task.js";
export {
  useConnection,
  useEvent,
  useWebSocket,
  type WebSocketActions,
  type WebSocketHook,
} from "./use-websocket.js";
