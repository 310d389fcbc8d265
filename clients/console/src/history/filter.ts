/** Which events are shown. */

import type { LastseenEvent } from "@lastseen/client";

export interface Filter {
  readonly channel: string;
  readonly type: string;
  readonly text: string;
}

/** Parts of names fit; `text` is looked for in the data and the sender, in any case. */
export function fits(event: LastseenEvent, { channel, type, text }: Filter): boolean {
  if (type !== "" && !event.type.includes(type)) return false;
  if (channel !== "" && !event.channels.some((one) => one.includes(channel))) return false;
  return (
    text === "" ||
    JSON.stringify([event.data, event.user_id, event.id]).toLowerCase().includes(text.toLowerCase())
  );
}

/** An event in a line. */
export function summary(event: LastseenEvent): string {
  const { text, question, message } = event.data;
  const said = text ?? question ?? message;
  return typeof said === "string" ? said.trim() : JSON.stringify(event.data);
}
