/** Following a channel for as long as somebody listens, and going on from there when somebody does again. */

import type { WebSocketClient } from "../src/client.js";
import type { LastseenError } from "../src/errors.js";
import type { LastseenEvent } from "../src/events.js";
import type { ChannelSubscription, StartOptions } from "../src/follower.js";
import type { Gap } from "../src/notices.js";
import { Store } from "./store.js";

const MAX_GAPS = 100;
const TELLING = ["state", "subscribed", "caught_up", "fell_behind"] as const;

export interface FollowState {
  /** Where the channel is on the present connection: `idle` while there is none. */
  readonly state: "idle" | "catching_up" | "live" | "ended";
  /** Whether everything up to now has come. */
  readonly isCaughtUp: boolean;
  /** What will not come, in the order in which that was told; the last 100. */
  readonly gaps: readonly Gap[];
  /** Why nothing more comes, where that is not the end of the task. */
  readonly error: LastseenError | undefined;
}

export const NOT_FOLLOWED: FollowState = { state: "idle", isCaughtUp: false, gaps: [], error: undefined };

/** Without a channel there is nothing to follow. */
export abstract class FollowingStore<T extends FollowState> extends Store<T> {
  readonly #client: WebSocketClient;
  readonly #channel: string | undefined;
  readonly #start: StartOptions;
  #subscription: ChannelSubscription | undefined;
  /** Up to where it had come when nobody listened any more. */
  #left: string | undefined;
  #gaps: readonly Gap[] = [];
  #error: LastseenError | undefined;
  #isEnded = false;
  #off: (() => void)[] = [];

  constructor(
    client: WebSocketClient,
    channel: string | undefined,
    start: StartOptions,
    initial: T,
    most?: number,
  ) {
    super(initial, most);
    this.#client = client;
    this.#channel = channel;
    this.#start = start;
  }

  /** The token to resume after the last event; undefined before it began. */
  protected get position(): string | undefined {
    return this.#subscription?.position ?? this.#left;
  }

  /** How it is followed now; the same object as `before` where nothing of that has changed. */
  protected follow(before: FollowState): FollowState {
    const state = this.#isEnded ? "ended" : (this.#subscription?.state ?? "idle");
    const gaps = this.#gaps;
    const error = this.#error;
    if (before.state === state && before.gaps === gaps && before.error === error) return before;
    const isCaughtUp = state === "live" || (state === "ended" && error === undefined);
    return { state, isCaughtUp, gaps, error };
  }

  protected override start(): void {
    const channel = this.#channel;
    if (channel === undefined || this.#isEnded) return;
    const start = this.#left === undefined ? this.#start : { after: this.#left };
    const touch = (): void => this.touch();
    this.#off = TELLING.map((name) => this.#client.on(name, touch));
    this.#subscription = this.#client.subscribe(channel, {
      ...start,
      onEvent: (event) => {
        this.take(event);
        this.touch();
      },
      onGap: (gap) => {
        this.#gaps = [...this.#gaps, gap].slice(-MAX_GAPS);
        this.passed(gap);
        this.touch();
      },
      onEnd: (error) => this.#ended(error),
    });
  }

  protected override stop(): void {
    for (const off of this.#off) off();
    this.#off = [];
    const subscription = this.#subscription;
    this.#left = this.position;
    this.#subscription = undefined;
    subscription?.unsubscribe();
  }

  /** The next event of the channel. */
  protected abstract take(event: LastseenEvent): void;

  /** What lies between two positions will not come. */
  protected passed(_gap: Gap): void {}

  #ended(error: LastseenError | undefined): void {
    // Undefined where we have left it ourselves.
    if (!this.#subscription) return;
    this.#isEnded = true;
    this.#error = error;
    this.flush();
  }
}
