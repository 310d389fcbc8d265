/** What each message of the server does to a session, and what follows from it. */

import type { LastseenEvent } from "./events.js";
import type { Gap, GapReason, Message, Notice } from "./notices.js";
import { formatPosition, type Position, parsePosition } from "./positions.js";
import type { Session } from "./session.js";
import {
  apply,
  beginAgain,
  count,
  cross,
  forget,
  liesBefore,
  positionOf,
  type Subscription,
  take,
} from "./subscription.js";
import type { Input } from "./transitions.js";

type Handed = LastseenEvent & { replay?: readonly string[] };

/** Take the next message; what follows from it, in order. Throws on one that is not of the protocol. */
export function receive(session: Session, message: Message): Notice[] {
  session.offline.explain(isDelay(session, message));
  // An event first: a producer may have named its type like one of the protocol's messages.
  return "offset" in message && "partition" in message
    ? event(session, message as unknown as Handed)
    : control(session, message);
}

function event(session: Session, { replay, ...event }: Handed): Notice[] {
  const { partition, offset, channels } = event;
  const input = replay ? "replayed_event" : "live_event";
  const counted = (replay ?? channels).flatMap((name) => {
    const isSparse = session.offline.isSparse(name);
    return count(session.get(name), input, partition, offset, session.epoch, isSparse) ?? [];
  });
  const [first] = counted;
  if (!first) return [];
  const isNew = !session.wasHad(channels, first.epoch || session.epoch, partition, offset);
  for (const next of counted) session.put(next);
  const names = counted.map(({ channel }) => channel);
  return [{ kind: "event", event, channels: names, replayed: replay !== undefined, isNew }];
}

function control(session: Session, message: Message): Notice[] {
  const { type, position } = message;
  switch (type) {
    case "ping":
      return [...applied(session, type, session.channels, position), { kind: type }];
    case "caught_up": {
      const channels = followed(session, message);
      const gaps = applied(session, type, channels, position);
      if (channels.includes(session.offline.channel)) session.offline.caughtUp();
      return [...gaps, { kind: type, channels, closed: message.closed === true }];
    }
    case "fell_behind": {
      const channels = followed(session, message);
      return [...applied(session, type, channels, position), { kind: type, channels }];
    }
    case "gap":
      return [gap(session, message)];
    case "connection_established":
      return established(session, message);
    case "subscription_result":
      return result(session, message);
    case "unsubscription_result":
      return unsubscribed(session, message);
    case "unsubscribed":
      return [ended(session, text(message.channel), String(message.reason ?? ""))];
    case "token_expiring":
      return [{ kind: type }];
    case "error":
      return error(session, message);
    default:
      return [{ kind: "other", message }];
  }
}

function gap(session: Session, message: Message): Notice {
  const channels = followed(session, message);
  const requested = text(message.requested);
  const earliest = text(message.earliest);
  const from = parsePosition(requested);
  const to = parsePosition(earliest);
  const reason = message.reason as GapReason;
  session.epoch = to.epoch || session.epoch;
  for (const name of channels) {
    const had = session.get(name);
    session.put(reason === "epoch" ? cross(had, from, to) : apply(had, "gap", to)[0]);
  }
  return { kind: "gap", gap: { channels, requested, earliest, reason }, earliest: to };
}

function established(session: Session, message: Message): Notice[] {
  const { offline } = session;
  for (const name of session.channels) {
    session.put(take({ ...session.get(name), automatic: false }, "disconnected")[0]);
  }
  offline.channel = `user:${text(message.user_id)}`;
  const begun = (message.subscriptions as { channel: string; position: string; live: boolean }[]).flatMap(
    ({ channel, position, live }) => begin(session, channel, parsePosition(position), live),
  );
  return [
    {
      kind: "established",
      connectionId: String(message.connection_id),
      userId: String(message.user_id),
      node: String(message.node ?? ""),
      heartbeatMs: Number(message.heartbeat_seconds) * 1000,
    },
    ...begun,
  ];
}

/** The connection itself begins a channel. */
function begin(session: Session, channel: string, position: Position, live: boolean): Notice[] {
  const { offline } = session;
  let had = session.put({ ...session.get(channel), automatic: true });
  const before = positionOf(had, session.epoch);
  // With `after` it is only what was asked for.
  if (!session.broughtBack || !session.epoch) session.epoch = position.epoch;
  if (had.held) return [{ kind: "ask", message: session.end(channel) }];
  // One that was asked for from its own position counts from the answer on: live, it would begin too late.
  if (session.questions.isAsked(channel, true)) return [];
  if (offline.owes(channel)) {
    // Where it was cut short it goes on from what came, whatever another client with the same cursor has confirmed
    // meanwhile, and whether or not the service can have offline messages now.
    if (liesBefore(had, position)) return [{ kind: "ask", message: session.ask(had) }];
    // It had begun live and never heard why: nothing came, and what is owed lies below.
    if (!live && !offline.fromCursor) had = forget(had);
    offline.fromCursor = !live || (offline.fromCursor && had.epoch === position.epoch);
    offline.stage = live ? "owed" : "coming";
    offline.beganLive = live;
  }
  const begun: Notice = {
    kind: "begun",
    channel,
    position,
    before,
    recovered: undefined,
    answers: false,
    again: false,
  };
  return [...moved(session, had, live ? "begun_live" : "begun_behind", position), begun];
}

function result(session: Session, message: Message): Notice[] {
  const { offline } = session;
  const channel = text(message.channel);
  const asked = session.questions.answered(message.ref, "subscribe", channel);
  if (message.subscribed !== true && !asked?.isVoid)
    return [ended(session, channel, String(message.reason ?? "refused"))];
  const position = parsePosition(text(message.position));
  const had = session.get(channel);
  const before = positionOf(had, session.epoch);
  const gaps: Notice[] = [];
  if (had.held || asked?.isVoid) return gaps;
  if (asked?.rewind) {
    const start = had.start === asked.rewind ? undefined : had.start;
    session.put(beginAgain({ ...had, start }, position));
    offline.settle(channel);
  } else if (asked?.withStart) {
    gaps.push(...moved(session, had, "result_with_start", position));
    offline.goesOn(channel);
  } else if (had.state === "idle" && session.questions.isAsked(channel, true)) {
    return gaps; // as where the connection begins it: it counts from the other answer on
  } else {
    session.epoch ||= position.epoch;
    gaps.push(...moved(session, had, "result_without_start", position));
  }
  const answers = session.get(channel).start === undefined;
  const recovered = message.recovered as boolean | undefined;
  const again = asked?.rewind !== undefined;
  return [...gaps, { kind: "begun", channel, position, before, recovered, answers, again }];
}

function unsubscribed(session: Session, message: Message): Notice[] {
  const channel = text(message.channel);
  session.questions.answered(message.ref, "unsubscribe", channel);
  const told: Notice = { kind: "ended", channel, reason: undefined };
  const had = session.get(channel);
  if (!session.channels.includes(channel)) return [told];
  const next = session.put(take(had, "ended")[0]);
  // It was asked before the greeting, which made it an automatic one: as such it is wanted.
  const isWanted = next.automatic && !next.held && !session.questions.isAsked(channel);
  return isWanted ? [told, { kind: "ask", message: session.ask(next) }] : [told];
}

function error(session: Session, message: Message): Notice[] {
  const retry = message.retry_after;
  const retryAfterMs = typeof retry === "number" ? retry * 1000 : undefined;
  const said = String(message.message ?? "the server gave no reason");
  if (isDelay(session, message)) {
    return [{ kind: "offline_delayed", channel: session.offline.channel, message: said, retryAfterMs }];
  }
  const asked = session.questions.answered(message.ref);
  if (!asked) return [{ kind: "other", message }];
  if (asked.isVoid) return [];
  const { channel, verb } = asked;
  const [next] = take(session.get(channel), "refused");
  const ends = verb === "subscribe" && retryAfterMs === undefined;
  session.put(ends ? { ...next, wanted: false, start: undefined } : next);
  return [{ kind: "refused", channel, message: said, code: String(message.code ?? "error"), retryAfterMs }];
}

/** Whether it says that what came to the user while away can't be had now. */
function isDelay({ offline }: Session, { type, ref, channel, retry_after }: Message): boolean {
  return type === "error" && ref === undefined && channel === offline.channel && retry_after !== undefined;
}

/** The server's own doing, so the next connection does not ask again. */
function ended(session: Session, channel: string, reason: string): Notice {
  session.put(take({ ...session.get(channel), wanted: false, start: undefined }, "ended")[0]);
  return { kind: "ended", channel, reason };
}

function applied(session: Session, input: Input, channels: readonly string[], token: unknown): Notice[] {
  if (token === undefined) return [];
  const position = parsePosition(text(token));
  session.epoch = position.epoch || session.epoch;
  return channels.flatMap((name) => moved(session, session.get(name), input, position));
}

/**
 * A channel has come to a position. Where that is of another epoch, without the gap that announces it: say so rather
 * than lose what offsets would hide.
 */
function moved(session: Session, had: Subscription, input: Input, position: Position): Notice[] {
  const { channel } = had;
  const [next, crossed] = apply(had, input, position, session.offline.isSparse(channel));
  session.put(next);
  if (!crossed) return [];
  session.epoch = position.epoch;
  const earliest = formatPosition(position);
  const gap: Gap = { channels: [channel], requested: "earliest", earliest, reason: "epoch" };
  return [{ kind: "gap", gap, earliest: position }];
}

/**
 * Those of the message's channels that have a stream here. What is still said of one that was given up concerns nobody:
 * that it has come to its end, above all, when not all of that was taken.
 */
function followed(session: Session, { channels }: Message): readonly string[] {
  if (!Array.isArray(channels)) throw new TypeError("a message without its channels");
  return (channels as string[]).filter((name) => session.get(name).state !== "idle");
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("a message without a text that it should have");
  return value;
}
