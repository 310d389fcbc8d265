/** The output of plain streams as lines, whole or said not to be. */

import type { OutputData } from "@lastseen/client";

export interface Line {
  readonly stream: string;
  readonly text: string;
}

const MOST = 200_000;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what terminals are told by begins with one.
const CONTROL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;

/** Takes chunks in the order of the channel. A chunk that was had is passed over; what is missing is told by a line. */
export class Lines {
  readonly lines: Line[] = [];
  /** Lines that were let go, so that the page stays small. */
  dropped = 0;
  readonly #streams = new Map<string, { next: number; rest: string; decoder: TextDecoder }>();

  add(data: OutputData): void {
    const stream = this.#stream(data.stream);
    if (data.offset < stream.next) return;
    if (data.offset > stream.next)
      this.#push(data.stream, `… ${data.offset - stream.next} bytes are missing …`);
    stream.next = data.offset + data.bytes;
    const bytes = data.text === undefined ? bytesOf(data) : undefined;
    const text =
      stream.rest +
      (bytes ? stream.decoder.decode(bytes, { stream: true }) : stream.decoder.decode() + data.text);
    const parts = text.split("\n");
    stream.rest = parts.pop() ?? "";
    for (const part of parts) this.#push(data.stream, shown(part));
  }

  /** What came behind the last end of a line. */
  get open(): readonly Line[] {
    return [...this.#streams]
      .filter(([, { rest }]) => rest !== "")
      .map(([stream, { rest }]) => ({ stream, text: shown(rest) }));
  }

  #push(stream: string, text: string): void {
    this.lines.push({ stream, text });
    if (this.lines.length > MOST + MOST / 10)
      this.dropped += this.lines.splice(0, this.lines.length - MOST).length;
  }

  #stream(name: string) {
    let stream = this.#streams.get(name);
    if (stream === undefined) {
      stream = { next: 0, rest: "", decoder: new TextDecoder() };
      this.#streams.set(name, stream);
    }
    return stream;
  }
}

export function bytesOf(data: OutputData): Uint8Array<ArrayBuffer> {
  if (data.text !== undefined) return new TextEncoder().encode(data.text);
  return Uint8Array.from(atob(data.base64 ?? ""), (one) => one.charCodeAt(0));
}

/** A line as a terminal would leave it: without colours, and with what was written over the rest last. */
function shown(text: string): string {
  return text.replace(CONTROL, "").replace(/\r+$/, "").split("\r").pop() ?? "";
}
