/** The client: channels whose events come once and in order, over every interruption. */

import { Asking, type CommandOptions, type CommandResult } from "./asking.js";
import type { ClientEvents, ClientState, HandledBy } from "./client-events.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import type { EventTypes } from "./events.js";
import {
  ChannelSubscription,
  type Follower,
  type FollowerPort,
  type SubscribeOptions,
  startOf,
} from "./follower.js";
import { Followers } from "./followers.js";
import type { HistoryOptions } from "./history.js";
import { LazyHistory } from "./lazy-history.js";
import type { Message, Notice } from "./notices.js";
import type { ClientOptions } from "./options.js";
import { Places } from "./places.js";
import { PositionStore } from "./position-store.js";
import { formatPosition, parsePosition } from "./positions.js";
import { Session } from "./session.js";
import { tell } from "./telling.js";

export type { CommandOptions };

export class WebSocketClient {
  readonly #options: ClientOptions;
  readonly #session = new Session();
  readonly #emitter = new Emitter();
  readonly #connection: Connection;
  readonly #followers: Followers;
  readonly #places: Places;
  readonly #asking: Asking;
  readonly #store: PositionStore;

  constructor(options: ClientOptions) {
    this.#options = options;
    const emitter = this.#emitter;
    const session = this.#session;
    const connection = new Connection(options, session, emitter, {
      message: (message) => this.#receive(message),
      opened: () => this.#asking.sendAgain(),
      disconnected: () => this.#followers.disconnected(),
      flush: () => this.#store.flush(),
      ended: (notice) => this.#hear(notice),
      failed: (error) => {
        this.#asking.fail(error);
        this.#followers.fail(error);
      },
    });
    const { storage, clientId = "" } = options;
    this.#connection = connection;
    this.#asking = new Asking(connection);
    this.#followers = new Followers(session, connection, emitter, storage !== undefined);
    this.#places = new Places(session, this.#followers, emitter);
    const key = `lastseen:${connection.url}:${clientId}`;
    this.#store = new PositionStore(storage, key, connection.clock, this.#places, emitter);
    for (const [channel, token] of this.#store.kept) session.rewind(channel, parsePosition(token));
  }

  /** What it is doing; `on("state")` tells of each change. */
  get state(): ClientState {
    return this.#connection.state;
  }

  get isConnected(): boolean {
    return this.state === "connected";
  }

  /** Why it is not connected, where something went wrong. */
  get connectionError(): LastseenError | undefined {
    return this.#connection.error;
  }

  /** Known from the first connection on. */
  get userId(): string | undefined {
    return this.#connection.userId;
  }

  get connectionId(): string | undefined {
    return this.#connection.id;
  }

  /** Connect, and stay connected. Resolves when the service has greeted; rejects where it never will. */
  connect(): Promise<void> {
    return this.#connection.connect();
  }

  /** Leave. Subscriptions with handlers stay: after `connect` they go on where they are. Streams and questions end. */
  disconnect(): void {
    this.#connection.disconnect();
  }

  /** Send a message as it is; whether it could be sent. Give it a `type` of the deployment's own. */
  send(message: Message): boolean {
    return this.#connection.send(message);
  }

  /**
   * Follow a channel, before or after `connect`: each event comes once and in order, to `onEvent` and to the handlers of
   * `on`. Several may follow the same channel, each from a start of its own.
   */
  subscribe(channel: string, options: SubscribeOptions = {}): ChannelSubscription {
    return this.follow((port) => new ChannelSubscription(port, channel, startOf(options), options));
  }

  subscribeToTask(taskId: string, options: SubscribeOptions = {}): ChannelSubscription {
    return this.subscribe(`task:${taskId}`, options);
  }

  subscribeToProject(projectId: string, options: SubscribeOptions = {}): ChannelSubscription {
    return this.subscribe(`project:${projectId}`, options);
  }

  /** For entries that follow in a way of their own, as `events` of `@lastseen/client/events` does. */
  follow<F extends Follower>(make: (port: FollowerPort) => F): F {
    const follower = make(this.#followers);
    this.#followers.add(follower);
    return follower;
  }

  /** End all that follows a channel, also where the connection itself subscribed it. */
  unsubscribe(channel: string): void {
    this.#followers.drop(channel);
  }

  /** The token to resume a channel after what its handlers and iterators were given; undefined before it began. */
  position(channel: string): string | undefined {
    const position = this.#places.of(channel);
    return position && formatPosition(position);
  }

  /** Where a channel was left is known no more: the next subscription of it begins now. */
  forget(channel: string): void {
    this.#session.forget(channel);
    this.#store.forget(channel);
  }

  /** Have a handler called; what is returned takes it away again. */
  on<K extends keyof ClientEvents>(name: K, handler: (value: ClientEvents[K]) => void): () => void;
  on<K extends string>(type: K, handler: (event: HandledBy<K>) => void): () => void;
  on(name: string, handler: (value: never) => void): () => void {
    this.#emitter.on(name, handler);
    return () => this.#emitter.off(name, handler);
  }

  /** Take a handler away, or all of a name. */
  off<K extends string>(name: K, handler?: (value: HandledBy<K>) => void): void {
    this.#emitter.off(name, handler);
  }

  once<K extends keyof ClientEvents>(name: K, handler: (value: ClientEvents[K]) => void): () => void;
  once<K extends string>(type: K, handler: (event: HandledBy<K>) => void): () => void;
  once(name: string, handler: (value: never) => void): () => void {
    const take = this.on(name, (value: unknown) => {
      take();
      handler(value as never);
    });
    return take;
  }

  /** Call the handlers of a name, here only. Whether there are any. */
  emit<K extends string>(name: K, value: HandledBy<K>): boolean {
    return this.#emitter.emit(name, value);
  }

  /** Write to the input of a running task; resolves when it is known what became of that. */
  sendTaskInput(taskId: string, input: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command("input", taskId, options, { input });
  }

  cancelTask(taskId: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command("cancel", taskId, options);
  }

  pauseTask(taskId: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command("pause", taskId, options);
  }

  resumeTask(taskId: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command("resume", taskId, options);
  }

  /** Answer a `task_confirmation_required`. */
  confirmTask(
    taskId: string,
    confirmationId: string,
    approved: boolean,
    options?: CommandOptions,
  ): Promise<CommandResult> {
    return this.#command("confirm", taskId, options, { confirmation_id: confirmationId, approved });
  }

  /** The users who have a connection, on any node, that is subscribed to a channel. */
  async presence(channel: string): Promise<readonly string[]> {
    const answer = await this.#asking.ask({ type: "presence", channel });
    return answer.users as readonly string[];
  }

  /**
   * Confirm what came to the own user channel, up to a position or up to what was handed out: it comes to no client of
   * this `clientId` again. Resolves, once that is durable, with where the durable cursor stands.
   */
  async ack(position: string | undefined = this.position(this.#session.offline.channel)): Promise<string> {
    if (position === undefined || position === "earliest") {
      throw new LastseenError(
        "nothing of the own user channel has come yet: name a position",
        "nothing_to_confirm",
      );
    }
    return (await this.#asking.ask({ type: "ack", position })).position as string;
  }

  /** What the log holds of a channel now, over HTTP: iterate it for the events, or its `pages()`. */
  history(channel: string, options: HistoryOptions = {}): LazyHistory {
    const { token, fetch } = this.#options;
    const { url, clock } = this.#connection;
    return new LazyHistory({ url, token, fetch, clock }, channel, options);
  }

  #command(
    verb: string,
    taskId: string,
    { id = this.#options.newId?.() ?? crypto.randomUUID(), timeoutMs }: CommandOptions = {},
    data?: Readonly<Record<string, unknown>>,
  ): Promise<CommandResult> {
    return this.#asking.command({ type: `task_${verb}`, task_id: taskId, id, ...data }, timeoutMs);
  }

  #receive(message: Message): void {
    let notices: Notice[];
    try {
      notices = this.#session.receive(message);
    } catch (cause) {
      const said = JSON.stringify(message).slice(0, 200);
      this.#emitter.report(new LastseenError(`not of this protocol: ${said}`, "protocol", { cause }));
      this.#connection.drop("a message of the server was not understood");
      return;
    }
    for (const notice of notices) this.#hear(notice);
    this.#store.touch();
  }

  #hear(notice: Notice): void {
    const connection = this.#connection;
    this.#followers.take(notice);
    switch (notice.kind) {
      case "event": {
        const { event, channels } = notice;
        this.#places.came(channels);
        if (event.type === "task_command")
          this.#asking.receipt(event as EventTypes["task_command"], connection.userId);
        break;
      }
      case "established":
        connection.greeted(notice);
        return;
      case "ping": {
        // A pong confirms what came before it; a ping only shows that we live.
        const { autoAck = true } = this.#options;
        connection.send({ type: autoAck && this.#places.isConfirmed ? "pong" : "ping" });
        return;
      }
      case "ask":
        connection.send(notice.message);
        return;
      case "token_expiring":
        connection.expiring();
        return;
      case "ended":
        if (notice.reason !== undefined && notice.channel === `project:${connection.projectId}`)
          connection.projectId = undefined;
        break;
      case "other":
        if (this.#asking.take(notice.message) || connection.renewal?.take(notice.message)) return;
    }
    tell(this.#emitter, notice);
  }
}
