/** The entry `@lastseen/client/stores`: what the hooks read, for pages without React or with their own way to render. */

export { type ChannelOptions, type ChannelState, ChannelStore } from "./channel.js";
export { type Connection, ConnectionStore, LastMessageStore } from "./connection.js";
export type { FollowState } from "./following.js";
export { type OutputChunk, TaskOutput } from "./output.js";
export { type Presence, type PresenceOptions, PresenceStore } from "./presence.js";
export { Store } from "./store.js";
export { Stores, storesOf } from "./stores.js";
export { type TaskOptions, type TaskSnapshot, TaskStore } from "./task.js";
export {
  hasEnded,
  type TaskDoes,
  type TaskView,
  taskAfter,
  taskViewOf,
  UNKNOWN_TASK,
} from "./task-view.js";
