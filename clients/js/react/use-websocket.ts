/** The connection, and what can be done over it. */

import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { WebSocketClient } from "../src/client.js";
import type { HandledBy } from "../src/client-events.js";
import type { LastseenEvent } from "../src/events.js";
import type { ChannelSubscription, SubscribeOptions } from "../src/follower.js";
import type { Message } from "../src/notices.js";
import type { Connection } from "../stores/connection.js";
import { useClient, useStores } from "./context.js";

/** The same functions as long as the client is the same. */
export interface WebSocketActions {
  readonly connect: () => Promise<void>;
  readonly disconnect: () => void;
  /** Whether it could be sent. */
  readonly sendMessage: (message: Message) => boolean;
  /** As the client's: whoever subscribes in an effect unsubscribes what is returned when it is cleaned up. */
  readonly subscribe: (channel: string, options?: SubscribeOptions) => ChannelSubscription;
  readonly unsubscribe: (channel: string) => void;
  readonly on: WebSocketClient["on"];
  readonly off: WebSocketClient["off"];
}

export interface WebSocketHook extends Connection, WebSocketActions {
  readonly client: WebSocketClient;
  /**
   * The last message. A component that reads it is rendered for new ones, once a frame: of several in a frame it sees
   * the last. To see each, use `useEvent`, `on` or `useChannel`.
   */
  readonly lastMessage: LastseenEvent | Message | undefined;
}

const nothing = (): (() => void) => () => {};
const noMessage = (): undefined => undefined;

/** The state of the connection alone. */
export function useConnection(): Connection {
  const { connection } = useStores();
  return useSyncExternalStore(connection.subscribe, connection.get, connection.get);
}

/** The connection of the provider. */
export function useWebSocket(): WebSocketHook {
  const stores = useStores();
  const { client, lastMessage: last } = stores;
  const connection = useConnection();
  const actions = useMemo(() => actionsOf(client), [client]);
  // Who does not read it is not rendered for it, and confirms nothing of the own user channel by it.
  const reads = useRef(false);
  const [isRead, setRead] = useState(false);
  useEffect(() => {
    if (reads.current) setRead(true);
  });
  const lastMessage = useSyncExternalStore(
    isRead ? last.subscribe : nothing,
    isRead ? last.get : noMessage,
    noMessage,
  );
  return {
    ...connection,
    ...actions,
    client,
    get lastMessage() {
      reads.current = true;
      return lastMessage;
    },
  };
}

/** Call a handler for each event of a type, or of what the client itself tells, while the component is mounted. */
export function useEvent<K extends string>(name: K, handler: (value: HandledBy<K>) => void): void {
  const client = useClient();
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  });
  useEffect(
    () => client.on(name as string, (value: unknown) => latest.current(value as HandledBy<K>)),
    [client, name],
  );
}

function actionsOf(client: WebSocketClient): WebSocketActions {
  return {
    connect: () => client.connect(),
    disconnect: () => client.disconnect(),
    sendMessage: (message) => client.send(message),
    subscribe: (channel, options) => client.subscribe(channel, options),
    unsubscribe: (channel) => client.unsubscribe(channel),
    on: client.on.bind(client) as WebSocketClient["on"],
    off: client.off.bind(client) as WebSocketClient["off"],
  };
}
