/** What is told to the handlers of a client, of what its session makes of the server's messages. */

import { OWN_NAMES } from "./client-events.js";
import type { Emitter } from "./emitter.js";
import { LastseenError } from "./errors.js";
import type { Notice } from "./notices.js";
import { formatPosition } from "./positions.js";

/** Call the handlers for a notice. */
export function tell(emitter: Emitter, notice: Notice): void {
  const { kind, ...told } = notice;
  switch (kind) {
    case "event":
      if (notice.isNew) tellMessage(emitter, notice.event);
      return;
    case "begun": {
      const { channel, position, recovered } = notice;
      emitter.emit("subscribed", { channel, position: formatPosition(position), recovered });
      return;
    }
    case "gap":
      emitter.emit(kind, notice.gap);
      return;
    case "caught_up":
    case "fell_behind":
      emitter.emit(kind, told);
      return;
    case "ended":
      emitter.emit("unsubscribed", told);
      return;
    case "offline_delayed": {
      const { channel, message, retryAfterMs } = notice;
      emitter.report(new LastseenError(message, "history_unavailable", { channel, retryAfterMs }));
      return;
    }
    case "other": {
      const { type, message, code = "error" } = notice.message;
      if (type === "error") emitter.report(new LastseenError(String(message), String(code)));
      else if (type !== "pong") tellMessage(emitter, notice.message);
      return;
    }
    default:
      return;
  }
}

function tellMessage(emitter: Emitter, message: { readonly type: string }): void {
  if (!OWN_NAMES.has(message.type)) emitter.emit(message.type, message);
  emitter.emit("message", message);
}
