/** The provider: one client, and one connection, for all components below it. */

import { type ReactElement, type ReactNode, useEffect, useRef, useState } from "react";
import { WebSocketClient } from "../src/client.js";
import type { ClientOptions } from "../src/options.js";
import { ClientContext } from "./context.js";

export type LastseenProviderProps = { readonly children?: ReactNode } & (
  | {
      /** A client of the caller's: it is connected, and left connected when the provider goes. */
      readonly client: WebSocketClient;
      readonly options?: never;
    }
  | {
      /**
       * Of the client to make. Another `url`, `projectId`, `clientId` or token that is a string makes another client;
       * of a token that is a function the latest one is called.
       */
      readonly options: ClientOptions;
      readonly client?: never;
    }
);

/** Connects when it is mounted. React's strict mode mounts it twice, and that makes one connection. */
export function LastseenProvider({ client, options, children }: LastseenProviderProps): ReactElement {
  const made = useMade(options);
  const used = client ?? (made as WebSocketClient);
  const isOurs = client === undefined;
  useEffect(() => connected(used, isOurs), [used, isOurs]);
  return <ClientContext.Provider value={used}>{children}</ClientContext.Provider>;
}

function useMade(options: ClientOptions | undefined): WebSocketClient | undefined {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const key = options && keyOf(options);
  const make = (): { key: string | undefined; client: WebSocketClient | undefined } => ({
    key,
    client: options && new WebSocketClient({ ...options, token: renewing(options, () => latest.current) }),
  });
  const [made, setMade] = useState(make);
  if (made.key === key) return made.client;
  const other = make();
  setMade(other);
  return other.client;
}

function keyOf({ url, projectId, clientId, token }: ClientOptions): string {
  return JSON.stringify([url, projectId, clientId, typeof token === "string" ? token : null]);
}

/** A token that is a function is the one of the latest render. */
function renewing(options: ClientOptions, latest: () => ClientOptions | undefined): ClientOptions["token"] {
  const { token } = options;
  if (typeof token === "string") return token;
  return () => {
    const now = latest()?.token;
    return typeof now === "function" ? now() : token();
  };
}

/** How many providers use a client, and the end that is due unless another comes within the turn. */
const USES = new WeakMap<WebSocketClient, { count: number; end?: ReturnType<typeof setTimeout> }>();

function connected(client: WebSocketClient, isOurs: boolean): () => void {
  const uses = USES.get(client) ?? { count: 0 };
  USES.set(client, uses);
  uses.count += 1;
  clearTimeout(uses.end);
  if (client.state === "idle") client.connect().catch(() => {}); // `connectionError` says why
  return () => {
    uses.count -= 1;
    if (uses.count > 0 || !isOurs) return;
    uses.end = setTimeout(() => client.disconnect(), 0);
  };
}
