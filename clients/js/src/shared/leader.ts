/** The tab that is connected: it follows for all of them, and says what comes. */

import { WebSocketClient } from "../client.js";
import type { ClientEvents } from "../client-events.js";
import type { LastseenError } from "../errors.js";
import type { ChannelSubscription } from "../follower.js";
import type { ClientOptions } from "../options.js";
import type { Start } from "../subscription.js";
import {
  type Followed,
  type FromLeader,
  type Line,
  type Locks,
  plain,
  type Said,
  type ToLeader,
} from "./messages.js";

/** What is told to all of them; of channels each tab tells itself. */
const TOLD = ["disconnected", "reconnecting", "fell_behind"] as const;

type Content<M> = M extends unknown ? Omit<M, "term"> : never;
type Asked = Extract<ToLeader, { do: "ask" }>;

interface Tab {
  readonly followed: Map<string, ChannelSubscription>;
  /** From where it wants what the connection itself subscribes; undefined where nobody there handles that. */
  after: Readonly<Record<string, string>> | undefined;
  readonly gone: AbortController;
}

export interface LeaderOptions {
  readonly client: ClientOptions;
  readonly line: Line;
  readonly locks: Locks;
  readonly term: string;
  /** The tab that leads. */
  readonly tab: string;
  /** The name of the lock that a tab holds for as long as it lives. */
  readonly lockOf: (tab: string) => string;
}

export class Leader {
  readonly #options: LeaderOptions;
  readonly #client: WebSocketClient;
  readonly #tabs = new Map<string, Tab>();
  #connected: ClientEvents["connected"] | undefined;
  #isOver = false;
  #isStarted = false;
  /** Ends the listening for messages that are no events. */
  #deaf: (() => void) | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#client = new WebSocketClient(options.client);
    const client = this.#client;
    client.on("state", (state) => {
      if (state !== "connected") this.#tellState();
    });
    client.on("connected", (connected) => {
      this.#connected = connected;
      this.#tellState();
      for (const name of this.#tabs.keys()) this.#followAutomatic(name);
    });
    for (const name of TOLD) client.on(name, (value) => this.#say({ do: "tell", name, value }));
    client.on("reconnect_failed", (error) => this.#tellError("reconnect_failed", error));
    client.on("error", (error) => this.#tellError("error", error));
    client.on("subscribed", ({ channel }) => this.#tellBegin(channel));
    options.line.onmessage = ({ data }: { readonly data: unknown }): void => {
      if ("toLeader" in (data as Said)) this.take((data as { toLeader: ToLeader }).toLeader);
    };
  }

  /**
   * Says that it leads. It connects once its own tab has said what it reads: what came while the user was away comes to
   * nobody but who reads it by then, and goes on behind what the tab still heard of the leader before.
   */
  start(): void {
    this.#tellState();
  }

  /** Ends the connection; another tab may lead. */
  stop(): void {
    for (const { gone } of this.#tabs.values()) gone.abort();
    this.#tabs.clear();
    this.#isOver = true;
    this.#client.disconnect();
    this.#options.line.close();
  }

  /** What a tab says. */
  take(said: ToLeader): void {
    if (said.do === "hello" || said.term !== this.#options.term) {
      this.#tellState();
      return;
    }
    switch (said.do) {
      case "connect":
        void this.#client.connect();
        return;
      case "bye":
        this.#lose(said.tab);
        return;
      case "read":
        this.#tab(said.tab).after = said.after;
        this.#listen();
        if (this.#client.isConnected) this.#followAutomatic(said.tab);
        if (said.tab === this.#options.tab && !this.#isStarted) {
          this.#isStarted = true;
          void this.#client.connect();
        }
        return;
      case "follow":
        this.#follow(said.tab, said.key, said.channel, said.start);
        return;
      case "leave": {
        const { followed } = this.#tab(said.tab);
        const had = followed.get(said.key);
        followed.delete(said.key);
        had?.unsubscribe();
        return;
      }
      case "ask":
        void this.#ask(said);
        return;
      case "send":
        this.#client.send(said.message);
    }
  }

  #tab(name: string): Tab {
    const known = this.#tabs.get(name);
    if (known) return known;
    const tab: Tab = { followed: new Map(), after: undefined, gone: new AbortController() };
    this.#tabs.set(name, tab);
    // Its lock is free when it has gone, however it went.
    const { locks, lockOf } = this.#options;
    const signal = tab.gone.signal;
    locks.request(lockOf(name), { signal }, async () => this.#lose(name)).catch(() => {});
    return tab;
  }

  #lose(name: string): void {
    const tab = this.#tabs.get(name);
    if (!tab) return;
    this.#tabs.delete(name);
    tab.gone.abort();
    for (const had of tab.followed.values()) had.unsubscribe();
    this.#listen();
  }

  /** Messages of a deployment's own types are heard while a tab handles them: else nobody has read what comes. */
  #listen(): void {
    const isRead = [...this.#tabs.values()].some(({ after }) => after !== undefined);
    if (isRead === (this.#deaf !== undefined)) return;
    this.#deaf?.();
    this.#deaf = isRead
      ? this.#client.on("message", (value) => {
          if (!("offset" in value)) this.#say({ do: "tell", name: "message", value });
        })
      : undefined;
  }

  /** What the connection itself subscribes, for a tab that handles it. */
  #followAutomatic(name: string): void {
    const { after, followed } = this.#tab(name);
    const { projectId } = this.#options.client;
    if (!after) return;
    const project = projectId === undefined ? [] : [`project:${projectId}`];
    for (const channel of [`user:${this.#client.userId}`, "broadcast", ...project]) {
      const key = `${name}!${channel}`;
      const from = after[channel];
      if (!followed.has(key))
        this.#follow(name, key, channel, from === undefined ? undefined : { after: from });
    }
  }

  #follow(tab: string, key: string, channel: string, start: Start | undefined): void {
    const { followed } = this.#tab(tab);
    const about = (): Followed => {
      const one = followed.get(key);
      return { tab, key, channel, position: one?.position, state: one?.state ?? "ended" };
    };
    const one = this.#client.subscribe(channel, {
      ...start,
      onEvent: (event) => this.#say({ do: "event", ...about(), event }),
      onGap: (gap) => this.#say({ do: "gap", ...about(), gap }),
      onCaughtUp: (closed) => this.#say({ do: "caught_up", ...about(), closed }),
      onEnd: (error) => {
        if (followed.get(key) !== one) return;
        this.#say({ do: "end", ...about(), error: error && plain(error) });
        followed.delete(key);
      },
    });
    followed.set(key, one);
    if (one.position !== undefined) this.#say({ do: "begin", ...about() });
  }

  /** The server has confirmed a channel: from where its followings begin. */
  #tellBegin(channel: string): void {
    for (const [tab, { followed }] of this.#tabs) {
      for (const [key, { channel: of, position, state }] of followed) {
        if (of === channel && position !== undefined)
          this.#say({ do: "begin", tab, key, channel, position, state });
      }
    }
  }

  async #ask({ tab, id, method, args }: Asked): Promise<void> {
    const call = this.#client[method] as (...args: unknown[]) => Promise<unknown>;
    try {
      this.#say({ do: "answer", tab, id, value: await call.apply(this.#client, [...args]) });
    } catch (error) {
      this.#say({ do: "refuse", tab, id, error: plain(error as LastseenError) });
    }
  }

  #tellState(): void {
    const { state, isConnected, connectionError: error } = this.#client;
    const connected = isConnected ? this.#connected : undefined;
    this.#say({ do: "state", state, connected, error: error && plain(error) });
  }

  #tellError(name: string, error: LastseenError): void {
    this.#say({ do: "tell", name, value: plain(error) });
  }

  /** Once it leads no more the next one says what there is to say, an answer that was cut short included. */
  #say(content: Content<FromLeader>): void {
    if (this.#isOver) return;
    const fromLeader = { term: this.#options.term, ...content } as FromLeader;
    this.#options.line.postMessage({ fromLeader } satisfies Said);
  }
}
