/** The life of a client's connections, one after the other: the table of `connecting.ts`, acted out. */

import { PROJECT_DENIED, whenToReturn } from "./close-codes.js";
import { type ClientState, type ConnectingEvent, IDLE, type Policy, turn } from "./connecting.js";
import type { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import type { Message, Notice } from "./notices.js";
import { type ClientOptions, type Clock, REAL_CLOCK, type SocketConstructor } from "./options.js";
import type { Renewal } from "./renewal.js";
import type { Session } from "./session.js";
import { Socket, socketUrl } from "./socket.js";
import { subjectOf } from "./subject.js";

export interface ConnectionPort {
  readonly message: (message: Message) => void;
  /** It stands: what waits may be sent. */
  readonly opened: () => void;
  /** The connection is gone, however it went; the session knows of it. */
  readonly disconnected: () => void;
  /** The connection is gone, or the page goes. */
  readonly flush: () => void;
  /** The service ended a channel by a refusal; the others go on. */
  readonly ended: (notice: Notice) => void;
  /** No connection comes by itself any more. */
  readonly failed: (error: LastseenError) => void;
}

export class Connection {
  readonly url: string;
  readonly clock: Clock;
  /** Of the present connection's token, once its end was told. */
  renewal: Renewal | undefined;
  /** Why it is not connected, where something went wrong. */
  error: LastseenError | undefined;
  userId: string | undefined;
  id: string | undefined;
  projectId: string | undefined;
  readonly #options: ClientOptions;
  readonly #policy: Policy;
  readonly #session: Session;
  readonly #emitter: Emitter;
  readonly #port: ConnectionPort;
  #connecting = IDLE;
  #socket: Socket | undefined;
  #attempt = 0;
  #token = "";
  #timer: unknown;
  #connected: Promise<void> | undefined;
  #settle: (error?: LastseenError) => void = () => {};
  #listening: AbortController | undefined;

  constructor(options: ClientOptions, session: Session, emitter: Emitter, port: ConnectionPort) {
    const { autoReconnect = true, maxReconnectAttempts: maxAttempts = Number.POSITIVE_INFINITY } = options;
    const { reconnectDelay: delay = {} } = options;
    const { base = 1_000, cap = 30_000 } = typeof delay === "number" ? { base: delay } : delay;
    this.#options = options;
    this.#policy = { autoReconnect, maxAttempts, base, cap };
    this.#session = session;
    this.#emitter = emitter;
    this.#port = port;
    this.url = options.url ?? (globalThis as { location?: { origin: string } }).location?.origin ?? "";
    socketUrl(this.url, {}); // an address that can't work is told at once
    this.clock = options.clock ?? REAL_CLOCK;
    this.projectId = options.projectId;
  }

  get state(): ClientState {
    return this.#connecting.phase;
  }

  connect(): Promise<void> {
    if (this.state === "connected") return Promise.resolve();
    if (!this.#connected) {
      this.#connected = new Promise((resolve, reject) => {
        this.#settle = (error): void => (error ? reject(error) : resolve());
      });
      this.#connected.catch(() => {}); // nobody has to handle it
    }
    const promise = this.#connected;
    if (!this.#listening) this.#listen();
    this.#turn({ type: "connect" });
    return promise;
  }

  disconnect(): void {
    this.#turn({ type: "disconnect" });
  }

  /** Whether it could be sent. */
  send(message: Message): boolean {
    return this.#socket?.send(message) ?? false;
  }

  /** Give the connection up, and come back. */
  drop(reason: string): void {
    this.#socket?.drop(reason);
  }

  /** So much later, unless another connection has come meanwhile. */
  later(call: () => void, ms: number): void {
    const attempt = this.#attempt;
    this.clock.setTimeout(() => {
      if (attempt === this.#attempt) call();
    }, ms);
  }

  /** The token ends soon: another one takes its place, where one can be had. Without, the next connection has one. */
  expiring(): void {
    if (!this.#canRenew || this.renewal?.isOver === false) return;
    const attempt = this.#attempt;
    const error = (error: LastseenError): void => this.#emitter.report(error);
    import("./renewal.js").then(
      ({ Renewal }) => {
        if (attempt !== this.#attempt || !this.#socket) return;
        const { clock } = this;
        const token = (): Promise<string> => this.#newToken();
        const send = (message: Message): boolean => this.send(message);
        this.renewal = new Renewal({ clock, token, send, error }, this.#token);
      },
      (cause) =>
        error(new LastseenError("what renews tokens could not be loaded", "authentication", { cause })),
    );
  }

  greeted({ connectionId, userId, node, heartbeatMs }: Extract<Notice, { kind: "established" }>): void {
    this.userId = userId;
    this.id = connectionId;
    this.error = undefined;
    this.#socket?.beat(heartbeatMs);
    this.#turn({ type: "greeted", now: this.clock.now() });
    this.#emitter.emit("connected", { connectionId, userId, node });
    this.#connected = undefined;
    this.#settle();
  }

  /** To what a page hears of its network, of its being looked at, and of its end; elsewhere there is nothing to hear. */
  #listen(): void {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const page = globalThis as Partial<Window & typeof globalThis>;
    const wake = (): void => {
      if (page.document?.visibilityState === "hidden") return;
      this.#turn({ type: "due" });
      this.#socket?.probe();
    };
    page.addEventListener?.("online", wake, { signal });
    page.addEventListener?.("visibilitychange", wake, { signal });
    page.addEventListener?.("pagehide", this.#port.flush, { signal });
  }

  #turn(event: ConnectingEvent): void {
    const before = this.state;
    const [next, action] = turn(this.#connecting, event, this.#policy);
    this.#connecting = next;
    if (action.do === "open") void this.#open();
    if (action.do === "close") this.#close(before);
    if (action.do === "wait") {
      this.#timer = this.clock.setTimeout(() => this.#turn({ type: "due" }), action.ms);
    }
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
    this.clock.clearTimeout(this.#timer);
    const attempt = ++this.#attempt;
    const { url, projectId } = this;
    const { WebSocket = (globalThis as { WebSocket?: SocketConstructor }).WebSocket, clientId } =
      this.#options;
    try {
      const token = await this.#newToken();
      if (attempt !== this.#attempt) return;
      this.#token = token;
      if (!this.#session.offline.channel) this.#expect(token);
      if (!WebSocket)
        throw new TypeError("there is no WebSocket here: give the option WebSocket, that of ws say");
      const query = { project_id: projectId, client_id: clientId, after: this.#session.resume() };
      this.#socket = new Socket(
        WebSocket,
        socketUrl(url, query),
        token,
        {
          opened: () => {
            for (const message of this.#session.requests()) this.send(message);
            this.#port.opened();
          },
          message: this.#port.message,
          closed: (code, reason, dropped) => this.#closed(code, reason, dropped),
        },
        this.clock,
      );
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      const said = String(cause);
      this.#emitter.report(
        new LastseenError(`no connection could be made: ${said}`, "authentication", { cause }),
      );
      this.#closed(1006, said, false);
    }
  }

  get #canRenew(): boolean {
    return typeof this.#options.token === "function";
  }

  /** Rejects with what the caller's function rejects with. */
  async #newToken(): Promise<string> {
    const { token } = this.#options;
    return typeof token === "function" ? token() : token;
  }

  #expect(token: string): void {
    const user = subjectOf(token);
    const { projectId } = this;
    if (user)
      this.#session.expect([`user:${user}`, "broadcast", ...(projectId ? [`project:${projectId}`] : [])]);
  }

  #close(before: ClientState): void {
    this.#attempt += 1;
    this.clock.clearTimeout(this.#timer);
    this.#socket?.close();
    this.#gone();
    this.#give(new LastseenError("the client was disconnected", "closed"));
    if (before !== "connected") return;
    this.#emitter.emit("disconnected", { code: 1000, reason: "disconnect", willReconnect: false });
  }

  #closed(code: number, reason: string, dropped: boolean): void {
    this.#gone();
    this.error = new LastseenError(`the connection ended: ${code} ${reason}`.trim(), "disconnected", {
      closeCode: code,
      reason,
    });
    this.#turn({
      type: "closed",
      code,
      reason,
      dropped,
      canRenew: this.#canRenew,
      givesWay: this.#leaveProject(reason),
      now: this.clock.now(),
      random: this.clock.random(),
    });
  }

  #gone(): void {
    this.#socket = undefined;
    this.id = undefined;
    this.#session.disconnected();
    this.#port.disconnected();
    this.renewal?.stop();
    this.renewal = undefined;
    this.#port.flush();
  }

  /** Whether the others may go on without the project that a later connection was refused for. */
  #leaveProject(reason: string): boolean {
    const { projectId } = this;
    if (reason !== PROJECT_DENIED || !this.userId || !projectId) return false;
    this.#port.ended({ kind: "ended", channel: `project:${projectId}`, reason });
    return true;
  }

  /** It comes back no more by itself. */
  #end(why: "gave_up" | "rejected" | "ended"): void {
    const { closeCode, reason, message } = this.error as LastseenError;
    const isToken = whenToReturn(closeCode ?? 0, reason ?? "") === "renew";
    const code = why !== "rejected" ? "closed" : isToken ? "authentication" : why;
    const error = new LastseenError(message, code, { closeCode, reason });
    this.error = error;
    this.#give(error);
    if (why !== "ended") this.#emitter.emit("reconnect_failed", error);
  }

  #give(error: LastseenError): void {
    this.#listening?.abort();
    this.#listening = undefined;
    this.#connected = undefined;
    this.#settle(error);
    this.#port.failed(error);
  }
}
