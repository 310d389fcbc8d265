/** The entry `@lastseen/client/http`: what the service answers over HTTP, without a connection. */

export type { CallOptions, HttpOptions } from "./call.js";
export { LastseenError } from "./errors.js";
export { History, type HistoryOptions, type HistoryPage } from "./history.js";
export {
  HttpClient,
  type ProjectState,
  type PublishedPlace,
  type StartedTask,
  type TaskStart,
  type TaskState,
} from "./http-client.js";
