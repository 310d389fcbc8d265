/** Who follows which channel: what a session says, handed on to them, and what they want, asked of the session. */

import { LastseenError } from "./errors.js";
import { endsChannel } from "./events.js";
import { type Follower, type Gap, unsubscribedError } from "./follower.js";
import type { Message, Notice } from "./notices.js";
import { formatPosition, isBehind, lowered, type Position, parsePosition } from "./positions.js";
import type { Session } from "./session.js";
import type { Start } from "./subscription.js";

/** The followers of one channel. */
interface Following {
  readonly followers: Set<Follower>;
  /** Those for whom the channel begins again, as soon as the server says so; `start` is theirs. */
  beginning: { readonly start: string; readonly who: Set<Follower> } | undefined;
  /** Those whose start comes when the channel is live: one start of a channel at a time. */
  readonly queue: Follower[];
}

export interface FollowersPort {
  /** Send on the present connection, if there is one. */
  send(message: Message): void;
  /** Ask again for a channel, after so long, where the connection is still the same. */
  askLater(channel: string, ms: number): void;
  /** Whether positions outlive the subscriptions that had them. */
  readonly remembers: boolean;
  error(error: LastseenError): void;
}

export class Followers {
  readonly #session: Session;
  readonly #port: FollowersPort;
  readonly #following = new Map<string, Following>();

  constructor(session: Session, port: FollowersPort) {
    this.#session = session;
    this.#port = port;
  }

  of(channel: string): ReadonlySet<Follower> {
    return this.#following.get(channel)?.followers ?? new Set();
  }

  add(follower: Follower): void {
    const { channel, start } = follower;
    const known = this.#following.get(channel);
    const following: Following = known ?? { followers: new Set(), beginning: undefined, queue: [] };
    this.#following.set(channel, following);
    const isFirst = following.followers.size === 0;
    following.followers.add(follower);
    if (start) {
      this.#begin(following, follower, start, isFirst);
      return;
    }
    const session = this.#session;
    const position = session.position(channel);
    if (position) follower.began(position);
    if (isFirst || !session.isWanted(channel)) this.#port.send(session.subscribe(channel));
  }

  /** One of them wants no more of its channel. */
  leave(follower: Follower): void {
    const { channel } = follower;
    const following = this.#following.get(channel);
    if (!following?.followers.delete(follower)) return;
    following.beginning?.who.delete(follower);
    if (following.queue.includes(follower)) following.queue.splice(following.queue.indexOf(follower), 1);
    if (following.followers.size > 0) {
      this.drained(follower);
      return;
    }
    this.#following.delete(channel);
    const session = this.#session;
    const isAutomatic = session.isAutomatic(channel);
    // What an iterator has not taken is not passed over, where its place is remembered.
    const { reached } = follower;
    if (reached && (!isAutomatic || session.state(channel) === "idle")) session.rewind(channel, reached);
    // The connection begins an automatic one anyway, and `client.on` may have handlers for it.
    if (!isAutomatic) this.#port.send(this.#quit(channel));
    else if (session.isHeld(channel)) this.#port.send(session.subscribe(channel));
    else session.leave(channel);
  }

  /** Nobody wants more of a channel, whoever begins it. */
  drop(channel: string): void {
    this.#end(channel);
    this.#port.send(this.#session.unsubscribe(channel));
  }

  hold({ channel }: Follower): void {
    this.#port.send(this.#session.hold(channel));
  }

  drained({ channel }: Follower): void {
    const session = this.#session;
    const isWanted = session.isWanted(channel) || session.isAutomatic(channel);
    if (!isWanted || !session.isHeld(channel) || [...this.of(channel)].some((one) => !one.hasRoom)) return;
    this.#port.send(session.subscribe(channel));
  }

  /** No connection comes by itself any more: whoever iterates is told, handlers stay for the next `connect`. */
  fail(error: LastseenError): void {
    for (const { followers } of [...this.#following.values()]) {
      for (const follower of [...followers]) follower.fail(error);
    }
  }

  /** Take a notice of the session. */
  take(notice: Notice): void {
    switch (notice.kind) {
      case "event":
        for (const channel of notice.channels) {
          for (const follower of [...this.of(channel)]) follower.take(notice.event);
          if (endsChannel(notice.event, channel)) this.#finish(channel);
        }
        return;
      case "begun":
        this.#begun(notice.channel, notice.position, notice.before, notice.answers);
        return;
      case "caught_up":
        for (const channel of notice.channels) {
          for (const follower of [...this.of(channel)]) follower.caughtUp(notice.closed);
          if (notice.closed) this.#finish(channel);
          else this.#next(channel);
        }
        return;
      case "gap":
        this.#gap(notice);
        return;
      case "refused":
        if (notice.retryAfterMs !== undefined) this.#port.askLater(notice.channel, notice.retryAfterMs);
        else this.#refused(notice.channel, notice.message, notice.code);
        return;
      case "ended":
        if (notice.reason !== undefined)
          this.#end(notice.channel, unsubscribedError(notice.channel, notice.reason));
        return;
      default:
        return;
    }
  }

  #begin(following: Following, follower: Follower, start: Start, isFirst: boolean): void {
    const { channel } = follower;
    const session = this.#session;
    const key = JSON.stringify(start);
    const position = session.position(channel);
    const after = start.after === undefined ? undefined : parsePosition(start.after);
    const shares = after && position?.epoch === after.epoch;
    if (after) follower.raiseFloor(after);
    if (following.beginning) {
      if (following.beginning.start === key) following.beginning.who.add(follower);
      else following.queue.push(follower);
    } else if (position && (!isFirst || session.isAutomatic(channel)) && session.state(channel) !== "live") {
      // First it goes on from where it is: only then what is gone in between is told.
      following.queue.push(follower);
    } else {
      following.beginning = { start: key, who: new Set([follower]) };
      // The others need what lies between, where it begins behind them.
      const needed = shares && !(isFirst && session.state(channel) === "idle");
      const from = needed ? { epoch: after.epoch, offsets: lowered(after.offsets, position.offsets) } : after;
      this.#port.send(session.subscribe(channel, from ? { after: formatPosition(from) } : start));
    }
  }

  #begun(channel: string, position: Position, before: Position | undefined, answers: boolean): void {
    const following = this.#following.get(channel);
    if (!following) return;
    const { beginning } = following;
    for (const follower of following.followers) {
      const isIts = beginning && answers ? beginning.who.has(follower) : !follower.start;
      if (isIts || (follower.begun && !before)) {
        follower.began(position);
      } else if (follower.begun && before && answers && beginning) {
        follower.raiseFloor(before);
      }
    }
    if (answers) following.beginning = undefined;
    if (this.#session.state(channel) === "live") this.#next(channel);
  }

  #next(channel: string): void {
    const following = this.#following.get(channel);
    const follower = following && !following.beginning ? following.queue.shift() : undefined;
    if (following && follower?.start) this.#begin(following, follower, follower.start, false);
  }

  #gap({ channels, requested, earliest, reason }: Extract<Notice, { kind: "gap" }>): void {
    const gap: Gap = {
      channels,
      requested: formatPosition(requested),
      earliest: formatPosition(earliest),
      reason,
    };
    for (const channel of channels) {
      for (const follower of [...this.of(channel)]) {
        const { floor } = follower;
        // The request was for the sake of another one.
        const isPast = floor?.epoch === earliest.epoch && isBehind(earliest.offsets, floor.offsets);
        if (follower.begun && !isPast) follower.gap(gap);
      }
    }
  }

  #refused(channel: string, message: string, code: string): void {
    const error = new LastseenError(`${message}: ${channel}`, code, { channel });
    this.#lose(channel, error);
    this.#port.error(error);
  }

  #lose(channel: string, error: LastseenError): void {
    this.#end(channel, error);
    if (!this.#session.isAutomatic(channel)) this.#quit(channel);
  }

  /** Its task has ended: there is nothing to come back for. */
  #finish(channel: string): void {
    const following = this.#following.get(channel);
    if (!following) return;
    for (const follower of [...following.followers]) {
      if (!follower.begun) continue;
      following.followers.delete(follower);
      follower.end();
    }
    if (following.followers.size > 0) {
      this.#next(channel);
      return;
    }
    this.#following.delete(channel);
    this.#port.send(this.#session.remove(channel));
  }

  /** Where it was left is where it goes on, if that is remembered; else it begins anew when it is followed again. */
  #quit(channel: string): Message {
    return this.#port.remembers ? this.#session.unsubscribe(channel) : this.#session.remove(channel);
  }

  #end(channel: string, error?: LastseenError): void {
    const following = this.#following.get(channel);
    this.#following.delete(channel);
    for (const follower of following?.followers ?? []) follower.end(error);
  }
}
