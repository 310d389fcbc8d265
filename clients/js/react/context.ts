/** The client that the components below a provider use. */

import { type Context, createContext, useContext } from "react";
import type { WebSocketClient } from "../src/client.js";
import { type Stores, storesOf } from "../stores/stores.js";

export const ClientContext: Context<WebSocketClient | undefined> = createContext<WebSocketClient | undefined>(
  undefined,
);

/** The client of the nearest `LastseenProvider`. */
export function useClient(): WebSocketClient {
  const client = useContext(ClientContext);
  if (!client) throw new Error("no LastseenProvider above this component: put one around it");
  return client;
}

export function useStores(): Stores {
  return storesOf(useClient());
}
