/** Who follows which channel: what a session says, handed on to them, and what they want, asked of the session. */

import type { Connection } from "./connection.js";
import type { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import { endsChannel } from "./events.js";
import type { Follower, FollowerPort } from "./follower.js";
import type { Gap, Message, Notice } from "./notices.js";
import { formatPosition, isBehind, lowered, type Position, parsePosition } from "./positions.js";
import type { Session } from "./session.js";
import type { Start } from "./subscription.js";
import type { SubscriptionState } from "./transitions.js";

/** The followers of one channel. */
interface Following {
  readonly followers: Set<Follower>;
  /** Those for whom the channel begins again, as soon as the server says so; `start` is theirs. */
  beginning: { readonly start: string; readonly who: Set<Follower> } | undefined;
  /** Those whose start comes when the channel is live: one start of a channel at a time. */
  readonly queue: Follower[];
}

export class Followers implements FollowerPort {
  readonly #session: Session;
  readonly #connection: Connection;
  readonly #emitter: Emitter;
  /** Whether positions outlive the subscriptions that had them. */
  readonly #remembers: boolean;
  readonly #following = new Map<string, Following>();
  /** Those whose task has ended before all of it was taken: where places are remembered, theirs counts on. */
  readonly #untaken = new Set<Follower>();

  constructor(session: Session, connection: Connection, emitter: Emitter, remembers: boolean) {
    this.#session = session;
    this.#connection = connection;
    this.#emitter = emitter;
    this.#remembers = remembers;
  }

  position(channel: string): Position | undefined {
    return this.#session.position(channel);
  }

  state(channel: string): SubscriptionState {
    return this.#session.get(channel).state;
  }

  guard(call: () => void): void {
    this.#emitter.guard(call);
  }

  of(channel: string): ReadonlySet<Follower> {
    return this.#following.get(channel)?.followers ?? new Set();
  }

  /** The channels of those who have not taken all that came before their task ended. */
  get untaken(): readonly string[] {
    return [...this.#untaken].filter((one) => !one.isTaken).map(({ channel }) => channel);
  }

  /** Those who may still hand out what came of a channel, among them some for whom nothing more comes. */
  takersOf(channel: string): readonly Follower[] {
    const untaken = [...this.#untaken].filter((one) => one.channel === channel && !one.isTaken);
    return [...this.of(channel), ...untaken];
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
    if (isFirst || !session.get(channel).wanted) this.#subscribe(channel);
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
    const { automatic, held, state } = session.get(channel);
    // What an iterator has not taken is not passed over, where its place is remembered.
    const { reached } = follower;
    if (reached && (!automatic || state === "idle")) session.rewind(channel, reached);
    // The connection begins an automatic one anyway, and `client.on` may have handlers for it.
    if (!automatic) this.#connection.send(this.#quit(channel));
    else if (held) this.#subscribe(channel);
    else session.leave(channel);
  }

  /** Nobody wants more of a channel, whoever begins it. */
  drop(channel: string): void {
    this.#end(channel);
    this.#connection.send(this.#session.unsubscribe(channel));
  }

  hold({ channel }: Follower): void {
    this.#connection.send(this.#session.hold(channel));
    this.#nameAll(channel);
  }

  drained({ channel }: Follower): void {
    this.#release(channel);
  }

  /**
   * The connection is gone. A channel that was to begin again first goes on from where it is: whoever had come so far is
   * told what is gone in between, which an answer to another start would not say.
   */
  disconnected(): void {
    const session = this.#session;
    for (const [channel, following] of this.#following) {
      const { followers, beginning, queue } = following;
      const isFollowed = session.get(channel).automatic || [...followers].some(({ begun }) => begun);
      if (beginning && isFollowed && session.position(channel)) {
        queue.unshift(...beginning.who);
        following.beginning = undefined;
        session.waive(channel);
      }
      this.#nameAll(channel);
    }
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
        this.#begun(notice);
        return;
      case "caught_up":
        for (const channel of notice.channels) {
          for (const follower of [...this.of(channel)]) follower.caughtUp(notice.closed);
          if (notice.closed) this.#finish(channel);
          else this.#next(channel);
        }
        return;
      case "gap":
        this.#gap(notice.gap, notice.earliest);
        return;
      case "refused":
        this.#refused(notice);
        return;
      case "ended": {
        const { channel, reason } = notice;
        const text = `the server ended the subscription of ${channel}: ${reason}`;
        if (reason !== undefined)
          this.#end(channel, new LastseenError(text, "unsubscribed", { channel, reason }));
        return;
      }
      default:
        return;
    }
  }

  #begin(following: Following, follower: Follower, start: Start, isFirst: boolean): void {
    const { channel } = follower;
    const session = this.#session;
    const { automatic, state } = session.get(channel);
    const key = JSON.stringify(start);
    const position = session.position(channel);
    const after = start.after === undefined ? undefined : parsePosition(start.after);
    const shares = after && position?.epoch === after.epoch;
    if (after) follower.raiseFloor(after);
    if (following.beginning) {
      if (following.beginning.start === key) following.beginning.who.add(follower);
      else following.queue.push(follower);
    } else if (position && (!isFirst || automatic) && state !== "live") {
      // First it goes on from where it is: only then what is gone in between is told.
      following.queue.push(follower);
    } else {
      following.beginning = { start: key, who: new Set([follower]) };
      // The others need what lies between, where it begins behind them.
      const needed = shares && !(isFirst && state === "idle");
      const from = needed ? { epoch: after.epoch, offsets: lowered(after.offsets, position.offsets) } : after;
      this.#subscribe(channel, from ? { after: formatPosition(from) } : start);
    }
  }

  /**
   * What it goes on from names every partition that any of its followers has come to: of one that is left out nobody
   * would be told what is gone.
   */
  #nameAll(channel: string): void {
    for (const { begun, floor } of this.of(channel)) {
      const position = this.#session.position(channel);
      if (!begun || !floor || !position || (position.epoch && position.epoch !== floor.epoch)) continue;
      const offsets = new Map(position.offsets);
      for (const partition of floor.offsets.keys()) if (!offsets.has(partition)) offsets.set(partition, -1);
      if (offsets.size > position.offsets.size)
        this.#session.rewind(channel, { epoch: floor.epoch, offsets });
    }
  }

  #begun({ channel, position, before, answers, again }: Extract<Notice, { kind: "begun" }>): void {
    const following = this.#following.get(channel);
    if (!following) return;
    const { beginning } = following;
    for (const follower of following.followers) {
      // Whoever asked for it may have left meanwhile: those who had begun have had all of it.
      if (again && before && follower.begun) follower.raiseFloor(before);
      const isIts = beginning && answers ? beginning.who.has(follower) : !follower.start;
      if (isIts || follower.begun) follower.began(position);
    }
    if (answers) following.beginning = undefined;
    if (this.state(channel) === "live") this.#next(channel);
  }

  #next(channel: string): void {
    const following = this.#following.get(channel);
    const follower = following && !following.beginning ? following.queue.shift() : undefined;
    if (following && follower?.start) this.#begin(following, follower, follower.start, false);
  }

  #gap(gap: Gap, { epoch, offsets }: Position): void {
    for (const channel of gap.channels) {
      for (const follower of [...this.of(channel)]) {
        const { floor } = follower;
        // The request was for the sake of another one.
        const isPast = floor?.epoch === epoch && isBehind(offsets, floor.offsets);
        if (follower.begun && !isPast) follower.gap(gap);
      }
    }
  }

  #refused({ channel, message, code, retryAfterMs }: Extract<Notice, { kind: "refused" }>): void {
    if (retryAfterMs !== undefined) {
      // A new connection has asked already.
      this.#connection.later(() => this.#askAgain(channel), retryAfterMs);
      return;
    }
    const error = new LastseenError(`${message}: ${channel}`, code, { channel });
    this.#end(channel, error);
    if (!this.#session.get(channel).automatic) this.#quit(channel);
    this.#emitter.report(error);
  }

  /** Its task has ended: there is nothing to come back for. */
  #finish(channel: string): void {
    const following = this.#following.get(channel);
    if (!following) return;
    for (const follower of [...following.followers]) {
      if (!follower.begun) continue;
      following.followers.delete(follower);
      follower.end();
      if (this.#remembers) this.#untaken.add(follower);
    }
    for (const follower of this.#untaken) if (follower.isTaken) this.#untaken.delete(follower);
    if (following.followers.size > 0) {
      this.#release(channel); // who held it may be among those who are finished
      this.#next(channel);
      return;
    }
    this.#following.delete(channel);
    this.#connection.send(this.#session.remove(channel));
  }

  /** Where it was left is where it goes on, if that is remembered; else it begins anew when it is followed again. */
  #quit(channel: string): Message {
    return this.#remembers ? this.#session.unsubscribe(channel) : this.#session.remove(channel);
  }

  #subscribe(channel: string, start?: Start): void {
    this.#connection.send(this.#session.subscribe(channel, start));
  }

  /** It goes on, once nobody holds it any more. */
  #release(channel: string): void {
    if (this.#session.get(channel).held && [...this.of(channel)].every((one) => one.hasRoom))
      this.#askAgain(channel);
  }

  /** Where it is still wanted. */
  #askAgain(channel: string): void {
    const { wanted, automatic } = this.#session.get(channel);
    if (wanted || automatic) this.#subscribe(channel);
  }

  #end(channel: string, error?: LastseenError): void {
    const following = this.#following.get(channel);
    this.#following.delete(channel);
    for (const follower of following?.followers ?? []) follower.end(error);
  }
}
