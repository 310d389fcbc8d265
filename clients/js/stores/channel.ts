/** The events of a channel in their order, the newest so many of them. */

import type { WebSocketClient } from "../src/client.js";
import type { LastseenEvent } from "../src/events.js";
import type { StartOptions } from "../src/follower.js";
import { FollowingStore, type FollowState, NOT_FOLLOWED } from "./following.js";
import { Newest } from "./newest.js";

export interface ChannelOptions extends StartOptions {
  /** So many events are kept; 1,000. */
  readonly limit?: number | undefined;
}

export interface ChannelState extends FollowState {
  readonly events: readonly LastseenEvent[];
  /** How many came before the first of them and are kept no more. */
  readonly dropped: number;
  /** The token to resume after the last event; undefined before the channel began. */
  readonly position: string | undefined;
}

const NONE: readonly LastseenEvent[] = [];

export class ChannelStore extends FollowingStore<ChannelState> {
  readonly #events: Newest;

  constructor(client: WebSocketClient, channel: string | undefined, options: ChannelOptions) {
    const { limit = 1_000, ...start } = options;
    const initial = { ...NOT_FOLLOWED, events: NONE, dropped: 0, position: undefined };
    // Told before any of them is dropped that nobody was told of.
    super(client, channel, start, initial, Math.min(500, limit));
    this.#events = new Newest(limit);
  }

  protected override take(event: LastseenEvent): void {
    this.#events.add(event);
  }

  protected override snapshot(before: ChannelState): ChannelState {
    const follow = this.follow(before);
    const { items, dropped } = this.#events.view;
    const { position } = this;
    const isSame = follow === before && items === before.events && position === before.position;
    return isSame ? before : { ...follow, events: items, dropped, position };
  }
}
