/** Up to where channels were handed out and taken, by whoever follows them. */

import { OWN_NAMES } from "./client-events.js";
import type { Emitter } from "./emitter.js";
import type { Followers } from "./followers.js";
import { formatPosition, lowered, type Position } from "./positions.js";
import type { Session } from "./session.js";

export class Places {
  readonly #session: Session;
  readonly #followers: Followers;
  readonly #emitter: Emitter;
  /** Whether something of the own user channel has passed unheard: then this client confirms nothing any more. */
  #isUnread = false;

  constructor(session: Session, followers: Followers, emitter: Emitter) {
    this.#session = session;
    this.#followers = followers;
    this.#emitter = emitter;
  }

  /** An event has come for these channels. */
  came(channels: readonly string[]): void {
    if (channels.includes(this.#own) && !this.#isRead) this.#isUnread = true;
  }

  /** Whether everything that came to the own user channel has been taken. */
  get isConfirmed(): boolean {
    const isOn = this.#isWhole && this.#isRead;
    return isOn && [...this.#followers.of(this.#own)].every((one) => one.isTaken);
  }

  /** From where a channel goes on, behind what all of its followers were given. */
  of(channel: string): Position | undefined {
    if (this.#session.offline.passesOver(channel)) return undefined;
    const followers = this.#followers.takersOf(channel);
    if (!followers.length) return this.#session.position(channel);
    let place: Position | undefined;
    for (const { reached } of followers) {
      if (!reached || !place) {
        place = reached ?? place;
      } else if (place.epoch === reached.epoch || !place.epoch || !reached.epoch) {
        const epoch = place.epoch || reached.epoch;
        place = { epoch, offsets: lowered(place.offsets, reached.offsets) };
      } else if (place.epoch === this.#session.epoch) {
        place = reached; // it has not come out of the old epoch
      }
    }
    return place;
  }

  /** The token of each channel for the next page. */
  *all(): Iterable<readonly [channel: string, token: string]> {
    for (const channel of new Set([...this.#session.channels, ...this.#followers.untaken])) {
      const place = channel === this.#own && !this.#isWhole ? undefined : this.of(channel);
      if (place) yield [channel, formatPosition(place)];
    }
  }

  get #own(): string {
    return this.#session.offline.channel;
  }

  get #isWhole(): boolean {
    return this.#session.offline.stage === "whole" && !this.#isUnread;
  }

  /** Whether somebody takes what comes to the own user channel. */
  get #isRead(): boolean {
    return (
      this.#followers.of(this.#own).size > 0 ||
      this.#emitter.names.some((name) => name === "message" || !OWN_NAMES.has(name))
    );
  }
}
