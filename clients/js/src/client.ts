/**
 * The client: channels whose events come once and in order, over every interruption.
 *
 * Long because it is the face: one short method for each thing that a page may ask, and the wiring behind them.
 */

import { Asking, type CommandResult, commandResult } from "./asking.js";
import { type ClientEvents, type ClientState, type HandledBy, OWN_NAMES } from "./client-events.js";
import { PROJECT_DENIED } from "./close-codes.js";
import { type ConnectingEvent, IDLE, type Phase, type Policy, turn } from "./connecting.js";
import { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import { EventStream, type StreamOptions } from "./event-stream.js";
import type { EventTypes } from "./events.js";
import {
  ChannelSubscription,
  type FollowerPort,
  type StartOptions,
  type SubscribeOptions,
  startOf,
} from "./follower.js";
import { Followers } from "./followers.js";
import type { HistoryOptions } from "./history.js";
import { LazyHistory } from "./lazy-history.js";
import type { Message, Notice } from "./notices.js";
import { type ClientOptions, type Clock, REAL_CLOCK, type SocketConstructor } from "./options.js";
import { PositionStore } from "./position-store.js";
import { formatPosition, lowered, type Position, parsePosition } from "./positions.js";
import { Renewal, subjectOf } from "./renewal.js";
import { Session } from "./session.js";
import { Socket, socketUrl } from "./socket.js";

const STATES: { readonly [P in Phase]: ClientState } = {
  idle: "idle",
  opening: "connecting",
  open: "connected",
  waiting: "reconnecting",
  failed: "failed",
};
const COMMAND_MS = 60_000;

export interface CommandOptions {
  /** Its idempotency key: give the same to go on with a command of an earlier page. */
  readonly id?: string | undefined;
  /** After so long without an answer the result is `unknown`; 60,000. */
  readonly timeoutMs?: number | undefined;
}

export class WebSocketClient {
  readonly #options: ClientOptions;
  readonly #url: string;
  readonly #policy: Policy;
  readonly #clock: Clock;
  readonly #session = new Session();
  readonly #emitter = new Emitter<Record<string, unknown>>((cause, name) => this.#handlerFailed(cause, name));
  readonly #followers: Followers;
  readonly #followerPort: FollowerPort;
  readonly #asking: Asking;
  readonly #renewal: Renewal;
  readonly #store: PositionStore;
  #projectId: string | undefined;
  #connecting = IDLE;
  #socket: Socket | undefined;
  #attempt = 0;
  #timer: unknown;
  #userId: string | undefined;
  #connectionId: string | undefined;
  #error: LastseenError | undefined;
  #isUnread = false;
  #connected: { promise: Promise<void>; resolve(): void; reject(error: unknown): void } | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#url = options.url ?? (globalThis as { location?: { origin: string } }).location?.origin ?? "";
    socketUrl(this.#url, {}); // an address that can't work is told at once
    const { reconnectDelay: delay = {} } = options;
    const { base = 1_000, cap = 30_000 } = typeof delay === "number" ? { base: delay } : delay;
    const { autoReconnect = true, maxReconnectAttempts: maxAttempts = Number.POSITIVE_INFINITY } = options;
    this.#policy = { autoReconnect, maxAttempts, base, cap };
    this.#projectId = options.projectId;
    this.#clock = options.clock ?? REAL_CLOCK;
    const send = (message: Message): void => void this.send(message);
    const fail = (error: LastseenError): void => this.#report(error);
    this.#asking = new Asking(send, this.#clock);
    this.#renewal = new Renewal(options.token, this.#clock, send, fail);
    this.#followers = new Followers(this.#session, {
      send,
      askLater: (channel, ms) => this.#askLater(channel, ms),
      remembers: options.storage !== undefined,
      error: fail,
    });
    this.#followerPort = {
      position: (channel) => this.#session.position(channel),
      state: (channel) => this.#session.state(channel),
      leave: (follower) => this.#followers.leave(follower),
      hold: (follower) => this.#followers.hold(follower),
      drained: (follower) => this.#followers.drained(follower),
      guard: (call) => this.#guard(call),
    };
    const key = `lastseen:${this.#url}:${options.clientId ?? ""}`;
    this.#store = new PositionStore(
      options.storage,
      key,
      this.#clock,
      () => this.#places(),
      (cause) => this.#report(new LastseenError("positions could not be kept", "storage", { cause })),
    );
    for (const [channel, token] of this.#store.kept) this.#session.rewind(channel, parsePosition(token));
  }

  /** What it is doing; `on("state")` tells of each change. */
  get state(): ClientState {
    return STATES[this.#connecting.phase];
  }

  get isConnected(): boolean {
    return this.#connecting.phase === "open";
  }

  /** Why it is not connected, where something went wrong. */
  get connectionError(): LastseenError | undefined {
    return this.#error;
  }

  /** Known from the first connection on. */
  get userId(): string | undefined {
    return this.#userId;
  }

  get connectionId(): string | undefined {
    return this.#connectionId;
  }

  /** Connect, and stay connected. Resolves when the service has greeted; rejects where it never will. */
  connect(): Promise<void> {
    if (this.isConnected) return Promise.resolve();
    this.#connected ??= deferred();
    const { promise } = this.#connected;
    if (this.state === "idle" || this.state === "failed") {
      listen("online", this.#comeBack, true);
      listen("pagehide", this.#flush, true);
    }
    this.#turn({ type: "connect" });
    return promise;
  }

  /** Leave. Subscriptions with handlers stay: after `connect` they go on where they are. Streams and questions end. */
  disconnect(): void {
    this.#turn({ type: "disconnect" });
  }

  /** Send a message as it is; whether it could be sent. Give it a `type` of the deployment's own. */
  send(message: Message): boolean {
    return this.#socket?.send(message) ?? false;
  }

  /**
   * Follow a channel, before or after `connect`: each event comes once and in order, to `onEvent` and to the handlers of
   * `on`. Several may follow the same channel, each from a start of its own.
   */
  subscribe(channel: string, options: SubscribeOptions = {}): ChannelSubscription {
    const follower = new ChannelSubscription(this.#followerPort, channel, checkedStart(options), options);
    this.#followers.add(follower);
    return follower;
  }

  subscribeToTask(taskId: string, options: SubscribeOptions = {}): ChannelSubscription {
    return this.subscribe(`task:${taskId}`, options);
  }

  subscribeToProject(projectId: string, options: SubscribeOptions = {}): ChannelSubscription {
    return this.subscribe(`project:${projectId}`, options);
  }

  /** The same as something to iterate: `for await (const event of client.events("task:x", { after: "earliest" }))`. */
  events(channel: string, options: StreamOptions = {}): EventStream {
    const stream = new EventStream(this.#followerPort, channel, checkedStart(options), options);
    this.#followers.add(stream);
    return stream;
  }

  /** End all that follows a channel, also where the connection itself subscribed it. */
  unsubscribe(channel: string): void {
    this.#followers.drop(channel);
  }

  /** The token to resume a channel after what its handlers and iterators were given; undefined before it began. */
  position(channel: string): string | undefined {
    const position = this.#place(channel);
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
    this.#emitter.on(name, handler as (value: unknown) => void);
    return () => this.#emitter.off(name, handler as (value: unknown) => void);
  }

  /** Take a handler away, or all of a name. */
  off<K extends string>(name: K, handler?: (value: HandledBy<K>) => void): void {
    this.#emitter.off(name, handler as ((value: unknown) => void) | undefined);
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
  sendTaskInput(taskId: string, input: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("task_input", taskId, { input }, options);
  }

  cancelTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("task_cancel", taskId, {}, options);
  }

  pauseTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("task_pause", taskId, {}, options);
  }

  resumeTask(taskId: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.#command("task_resume", taskId, {}, options);
  }

  /** Answer a `task_confirmation_required`. */
  confirmTask(
    taskId: string,
    confirmationId: string,
    approved: boolean,
    options: CommandOptions = {},
  ): Promise<CommandResult> {
    return this.#command("task_confirm", taskId, { confirmation_id: confirmationId, approved }, options);
  }

  /** The users who have a connection, on any node, that is subscribed to a channel. */
  async presence(channel: string): Promise<readonly string[]> {
    const answer = await this.#asking.ask({ type: "presence", channel }, COMMAND_MS);
    return answer.users as readonly string[];
  }

  /**
   * Confirm what came to the own user channel, up to a position or up to what was handed out: it comes to no client of
   * this `clientId` again. Resolves, once that is durable, with where the durable cursor stands.
   */
  async ack(position?: string): Promise<string> {
    const token = position ?? this.position(this.#session.userChannel);
    if (token === undefined || token === "earliest") {
      throw new LastseenError(
        "nothing of the own user channel has come yet: name a position",
        "nothing_to_confirm",
      );
    }
    return (await this.#asking.ask({ type: "ack", position: token }, COMMAND_MS)).position as string;
  }

  /** What the log holds of a channel now, over HTTP: iterate it for the events, or its `pages()`. */
  history(channel: string, options: HistoryOptions = {}): LazyHistory {
    const { token } = this.#options;
    return new LazyHistory(
      { url: this.#url, token, fetch: this.#options.fetch, clock: this.#clock },
      channel,
      options,
    );
  }

  readonly #comeBack = (): void => this.#turn({ type: "due" });
  readonly #flush = (): void => this.#store.flush();

  #turn(event: ConnectingEvent): void {
    const before = this.state;
    const [next, action] = turn(this.#connecting, event, this.#policy);
    this.#connecting = next;
    if (action.do === "open") void this.#open();
    if (action.do === "close") this.#close(before);
    if (action.do === "wait") this.#timer = this.#clock.setTimeout(this.#comeBack, action.ms);
    if (this.state !== before) this.#emitter.emit("state", this.state);
    if (event.type !== "closed") return;
    const { code, reason } = event;
    if (before === "connected") {
      this.#emitter.emit("disconnected", { code, reason, willReconnect: action.do === "wait" });
    }
    if (action.do === "wait") {
      this.#emitter.emit("reconnecting", { attempt: action.attempt, delayMs: action.ms, reason });
    } else if (action.do === "end") {
      this.#end(action.why);
    }
  }

  async #open(): Promise<void> {
    this.#clock.clearTimeout(this.#timer);
    const attempt = ++this.#attempt;
    let socket: Socket;
    try {
      const token = await this.#renewal.token();
      if (attempt !== this.#attempt) return;
      if (!this.#session.userChannel) this.#expect(token);
      const WebSocket =
        this.#options.WebSocket ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
      if (!WebSocket)
        throw new TypeError("there is no WebSocket here: give the option WebSocket, that of ws say");
      const after = this.#session.resume();
      const query = { project_id: this.#projectId, client_id: this.#options.clientId, after };
      socket = new Socket(
        WebSocket,
        socketUrl(this.#url, query),
        token,
        {
          opened: () => this.#opened(),
          message: (message) => this.#receive(message),
          closed: (code, reason, dropped) => this.#closed(code, reason, dropped),
        },
        this.#clock,
      );
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      this.#report(
        new LastseenError(`no connection could be made: ${String(cause)}`, "authentication", { cause }),
      );
      this.#closed(1006, String(cause), false);
      return;
    }
    this.#socket = socket;
  }

  #expect(token: string): void {
    const user = subjectOf(token);
    const project = this.#projectId && `project:${this.#projectId}`;
    if (user) this.#session.expect([`user:${user}`, "broadcast", ...(project ? [project] : [])]);
  }

  #opened(): void {
    for (const message of this.#session.requests()) this.send(message);
    for (const message of this.#asking.unanswered) this.send(message);
  }

  #close(before: ClientState): void {
    this.#attempt += 1;
    this.#clock.clearTimeout(this.#timer);
    this.#socket?.close();
    this.#gone();
    this.#give(new LastseenError("the client was disconnected", "closed"));
    if (before !== "connected") return;
    this.#emitter.emit("disconnected", { code: 1000, reason: "disconnect", willReconnect: false });
  }

  #closed(code: number, reason: string, dropped: boolean): void {
    this.#gone();
    this.#error = new LastseenError(`the connection ended: ${code} ${reason}`.trim(), "disconnected", {
      closeCode: code,
      reason,
    });
    this.#turn({
      type: "closed",
      code,
      reason,
      dropped,
      canRenew: this.#renewal.canRenew,
      givesWay: this.#leaveProject(reason),
      now: this.#clock.now(),
      random: this.#clock.random(),
    });
  }

  #gone(): void {
    this.#socket = undefined;
    this.#connectionId = undefined;
    this.#session.disconnected();
    this.#renewal.stop();
    this.#store.flush();
  }

  /** Whether the others may go on without the project that a later connection was refused for. */
  #leaveProject(reason: string): boolean {
    const project = this.#projectId;
    if (reason !== PROJECT_DENIED || this.#userId === undefined || project === undefined) return false;
    this.#projectId = undefined;
    this.#followers.take({ kind: "ended", channel: `project:${project}`, reason });
    this.#emitter.emit("unsubscribed", { channel: `project:${project}`, reason });
    return true;
  }

  /** It comes back no more by itself. */
  #end(why: "gave_up" | "rejected" | "ended"): void {
    const { closeCode, reason, message } = this.#error as LastseenError;
    const isToken = closeCode === 4401 || reason === "Invalid token" || reason === "Authentication required";
    const code = why !== "rejected" ? "closed" : isToken ? "authentication" : "rejected";
    const error = new LastseenError(message, code, { closeCode, reason });
    this.#error = error;
    this.#give(error);
    if (why !== "ended") this.#emitter.emit("reconnect_failed", error);
  }

  #give(error: LastseenError): void {
    listen("online", this.#comeBack, false);
    listen("pagehide", this.#flush, false);
    const connected = this.#connected;
    this.#connected = undefined;
    connected?.reject(error);
    this.#asking.fail(error);
    this.#followers.fail(error);
  }

  #receive(message: Message): void {
    let notices: Notice[];
    try {
      notices = this.#session.receive(message);
    } catch (cause) {
      this.#report(
        new LastseenError(`not of this protocol: ${JSON.stringify(message).slice(0, 200)}`, "protocol", {
          cause,
        }),
      );
      this.#socket?.drop("a message of the server was not understood");
      return;
    }
    for (const notice of notices) {
      this.#followers.take(notice);
      this.#tell(notice);
    }
    this.#store.touch();
  }

  #tell(notice: Notice): void {
    switch (notice.kind) {
      case "event": {
        const { event } = notice;
        if (notice.channels.includes(this.#session.userChannel) && !this.#isRead) this.#isUnread = true;
        if (event.type === "task_command")
          this.#asking.receipt(event as EventTypes["task_command"], this.#userId ?? "");
        if (!notice.isNew) return;
        if (!OWN_NAMES.has(event.type)) this.#emitter.emit(event.type, event);
        this.#emitter.emit("message", event);
        return;
      }
      case "established":
        this.#established(notice);
        return;
      case "ping":
        // A pong confirms what came before it; a ping only shows that we live.
        this.send({ type: this.#isConfirmed ? "pong" : "ping" });
        return;
      case "ask":
        this.send(notice.message);
        return;
      case "token_expiring":
        this.#renewal.expiring();
        return;
      case "begun": {
        const { channel, position, recovered } = notice;
        this.#emitter.emit("subscribed", { channel, position: formatPosition(position), recovered });
        return;
      }
      case "gap": {
        const { channels, reason } = notice;
        const requested = formatPosition(notice.requested);
        this.#emitter.emit("gap", { channels, requested, earliest: formatPosition(notice.earliest), reason });
        return;
      }
      case "caught_up":
        this.#emitter.emit("caught_up", { channels: notice.channels, closed: notice.closed });
        return;
      case "fell_behind":
        this.#emitter.emit("fell_behind", { channels: notice.channels });
        return;
      case "ended":
        if (notice.reason !== undefined && notice.channel === `project:${this.#projectId}`)
          this.#projectId = undefined;
        this.#emitter.emit("unsubscribed", { channel: notice.channel, reason: notice.reason });
        return;
      case "offline_delayed": {
        const { channel, retryAfterMs } = notice;
        this.#report(new LastseenError(notice.message, "history_unavailable", { channel, retryAfterMs }));
        return;
      }
      case "other":
        this.#other(notice.message);
        return;
      default:
        return;
    }
  }

  #established(notice: Extract<Notice, { kind: "established" }>): void {
    const { connectionId, userId, node, heartbeatMs } = notice;
    this.#userId = userId;
    this.#connectionId = connectionId;
    this.#error = undefined;
    this.#socket?.beat(heartbeatMs);
    this.#turn({ type: "greeted", now: this.#clock.now() });
    this.#emitter.emit("connected", { connectionId, userId, node });
    this.#connected?.resolve();
    this.#connected = undefined;
  }

  #other(message: Message): void {
    if (this.#asking.take(message) || this.#renewal.take(message)) return;
    if (message.type === "error") {
      this.#report(new LastseenError(String(message.message), String(message.code ?? "error")));
    } else if (message.type !== "pong") {
      if (!OWN_NAMES.has(message.type)) this.#emitter.emit(message.type, message);
      this.#emitter.emit("message", message);
    }
  }

  /** Whether somebody takes what comes to the own user channel. */
  get #isRead(): boolean {
    if (this.#followers.of(this.#session.userChannel).size > 0) return true;
    for (const name of this.#emitter.names) {
      if (name === "message" || !OWN_NAMES.has(String(name))) return true;
    }
    return false;
  }

  /** Whether everything that came to the own user channel has been taken. */
  get #isConfirmed(): boolean {
    const isOn = (this.#options.autoAck ?? true) && this.#session.isWhole && this.#isRead && !this.#isUnread;
    return isOn && [...this.#followers.of(this.#session.userChannel)].every((one) => one.isTaken);
  }

  #place(channel: string): Position | undefined {
    if (this.#session.passesOver(channel)) return undefined;
    let place: Position | undefined;
    for (const { reached } of this.#followers.of(channel)) {
      if (!reached || !place) {
        place = reached ?? place;
      } else if (place.epoch === reached.epoch || !place.epoch || !reached.epoch) {
        const epoch = place.epoch || reached.epoch;
        place = { epoch, offsets: lowered(place.offsets, reached.offsets) };
      } else if (place.epoch === this.#session.epoch) {
        place = reached; // it has not come out of the old epoch
      }
    }
    return place ?? this.#session.position(channel);
  }

  *#places(): Iterable<readonly [string, string]> {
    for (const channel of this.#session.channels) {
      const isOpen = channel === this.#session.userChannel && !(this.#session.isWhole && !this.#isUnread);
      const place = isOpen ? undefined : this.#place(channel);
      if (place) yield [channel, formatPosition(place)];
    }
  }

  async #command(
    type: string,
    taskId: string,
    data: Readonly<Record<string, unknown>>,
    { id = this.#newId(), timeoutMs = COMMAND_MS }: CommandOptions,
  ): Promise<CommandResult> {
    try {
      return commandResult(await this.#asking.ask({ type, task_id: taskId, id, ...data }, timeoutMs));
    } catch (error) {
      if (!(error instanceof LastseenError) || error.code !== "unavailable") throw error;
      return { id, taskId, success: false, state: "unknown", reason: "timeout" };
    }
  }

  #newId(): string {
    return this.#options.newId?.() ?? crypto.randomUUID();
  }

  #askLater(channel: string, ms: number): void {
    const attempt = this.#attempt;
    this.#clock.setTimeout(() => {
      // A new connection has asked already.
      const isWanted = this.#session.isWanted(channel) || this.#session.isAutomatic(channel);
      if (attempt === this.#attempt && isWanted) this.send(this.#session.subscribe(channel));
    }, ms);
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (cause) {
      this.#handlerFailed(cause, "");
    }
  }

  #handlerFailed(cause: unknown, name: PropertyKey): void {
    if (name === "error") console.error(cause);
    else this.#report(new LastseenError(`a handler has thrown: ${String(cause)}`, "handler", { cause }));
  }

  #report(error: LastseenError): void {
    if (!this.#emitter.emit("error", error) && error.code === "handler") console.error(error.cause);
  }
}

function checkedStart(options: StartOptions): ReturnType<typeof startOf> {
  if (options.after !== undefined) parsePosition(options.after);
  return startOf(options);
}

/** A promise whose rejection nobody has to handle. */
function deferred(): { promise: Promise<void>; resolve(): void; reject(error: unknown): void } {
  let resolve: () => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** To what a page hears of its network and its end; elsewhere there is nothing to hear. */
function listen(name: string, handler: () => void, on: boolean): void {
  const page = globalThis as Partial<Pick<Window, "addEventListener" | "removeEventListener">>;
  (on ? page.addEventListener : page.removeEventListener)?.call(globalThis, name, handler);
}
