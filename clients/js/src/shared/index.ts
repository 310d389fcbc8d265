/** The entry `@lastseen/client/shared`: one connection for all tabs of a browser. */

import { WebSocketClient } from "../client.js";
import { SharedClient, type SharedOptions } from "./client.js";

export type { SharedOptions };

/**
 * A client that shares its connection with those of the browser's other tabs that have the same user, `url`, `clientId`
 * and `projectId`; where a browser can't (a page that is not served over https has no locks), one with a connection of its own.
 */
export function sharedClient(options: SharedOptions): WebSocketClient {
  const { locks } = (globalThis as { navigator?: Partial<Navigator> }).navigator ?? {};
  if (!locks || typeof BroadcastChannel === "undefined") return new WebSocketClient(options);
  return new SharedClient(options, { locks, line: (name) => new BroadcastChannel(name) });
}
