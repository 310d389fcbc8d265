/** The output of plain streams as lines, whole or said not to be. */

import type { OutputChunk } from "@lastseen/client/stores";

export interface Line {
  readonly stream: string;
  readonly text: string;
}

/** So many lines are kept, the last ones. */
export const MOST_LINES = 200_000;
/** A line that is longer is shown as several. */
export const LONGEST = 32_768;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what terminals are told by begins with one.
const CONTROL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;

/** Takes chunks as an output gives them: in order, each byte once, what is missing counted. */
export class Lines {
  readonly lines: Line[] = [];
  /** How many lines were let go, so that the page stays small. */
  dropped = 0;
  readonly #most: number;
  readonly #streams = new Map<string, { rest: string; readonly decoder: TextDecoder }>();

  constructor(most: number = MOST_LINES) {
    this.#most = most;
  }

  add({ stream: name, data, missing }: OutputChunk): void {
    const stream = this.#stream(name);
    if (missing > 0) {
      this.#end(name, stream);
      this.#push(name, `… ${missing} bytes are missing …`);
    }
    const parts = (stream.rest + stream.decoder.decode(data, { stream: true })).split("\n");
    stream.rest = "";
    const rest = parts.pop() ?? "";
    for (const part of parts) this.#push(name, shown(part));
    stream.rest = lastOf(rest);
    while (stream.rest.length > LONGEST) {
      this.#push(name, shown(stream.rest.slice(0, LONGEST)));
      stream.rest = stream.rest.slice(LONGEST);
    }
    if (this.lines.length > this.#most * 1.1)
      this.dropped += this.lines.splice(0, this.lines.length - this.#most).length;
  }

  /** What came behind the last end of a line. */
  get open(): readonly Line[] {
    return [...this.#streams]
      .filter(([, { rest }]) => rest !== "")
      .map(([stream, { rest }]) => ({ stream, text: shown(rest) }));
  }

  /** What lies before a hole is a line of its own. */
  #end(name: string, stream: { rest: string; readonly decoder: TextDecoder }): void {
    const rest = stream.rest + stream.decoder.decode();
    stream.rest = "";
    if (rest !== "") this.#push(name, shown(rest));
  }

  #push(stream: string, text: string): void {
    this.lines.push({ stream, text });
  }

  #stream(name: string): { rest: string; readonly decoder: TextDecoder } {
    let stream = this.#streams.get(name);
    if (stream === undefined) {
      stream = { rest: "", decoder: new TextDecoder("utf-8", { ignoreBOM: true }) };
      this.#streams.set(name, stream);
    }
    return stream;
  }
}

/** A line as a terminal would leave it: without colours, and with what was written over the rest last. */
function shown(text: string): string {
  return lastOf(text).replace(CONTROL, "").replace(/\r+$/, "");
}

/** What is behind the last return of the carriage that something follows: what was before has been written over. */
function lastOf(text: string): string {
  const end = text.length - (/\r+$/.exec(text)?.[0].length ?? 0);
  return end === 0 ? "" : text.slice(text.lastIndexOf("\r", end - 1) + 1);
}
