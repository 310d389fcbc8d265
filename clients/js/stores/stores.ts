/** The stores of a client: components that ask for the same share one, so that it is followed and folded once. */

import type { WebSocketClient } from "../src/client.js";
import { type ChannelOptions, ChannelStore } from "./channel.js";
import { ConnectionStore, LastMessageStore } from "./connection.js";
import { type PresenceOptions, PresenceStore } from "./presence.js";
import type { Store } from "./store.js";
import { type TaskOptions, TaskStore } from "./task.js";

const OF = new WeakMap<WebSocketClient, Stores>();

/** Those of a client; always the same. */
export function storesOf(client: WebSocketClient): Stores {
  const stores = OF.get(client) ?? new Stores(client);
  OF.set(client, stores);
  return stores;
}

export class Stores {
  readonly client: WebSocketClient;
  readonly connection: ConnectionStore;
  readonly lastMessage: LastMessageStore;
  /** Held by who reads them: one that was made for a component that never came is collected. */
  readonly #shared = new Map<string, WeakRef<Store<unknown>>>();
  readonly #collected = new FinalizationRegistry<string>((key) => {
    if (!this.#shared.get(key)?.deref()) this.#shared.delete(key);
  });

  constructor(client: WebSocketClient) {
    this.client = client;
    this.connection = new ConnectionStore(client);
    this.lastMessage = new LastMessageStore(client);
  }

  channel(channel: string | undefined, options: ChannelOptions = {}): ChannelStore {
    return this.#share(["channel", channel, options], () => new ChannelStore(this.client, channel, options));
  }

  task(taskId: string | undefined, projectId?: string, options: TaskOptions = {}): TaskStore {
    const key = ["task", taskId, projectId, options];
    return this.#share(key, () => new TaskStore(this.client, taskId, projectId, options));
  }

  presence(channel: string | undefined, options: PresenceOptions = {}): PresenceStore {
    return this.#share(
      ["presence", channel, options],
      () => new PresenceStore(this.client, channel, options),
    );
  }

  #share<S extends Store<unknown>>(what: readonly unknown[], make: () => S): S {
    const key = JSON.stringify(what);
    const known = this.#shared.get(key)?.deref();
    if (known) return known as S;
    const store = make();
    this.#shared.set(key, new WeakRef<Store<unknown>>(store));
    this.#collected.register(store, key);
    // Whoever comes later begins as he says.
    store.whenStopped(() => {
      if (this.#shared.get(key)?.deref() === store) this.#shared.delete(key);
    });
    return store;
  }
}
