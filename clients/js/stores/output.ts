/** The output of a task: chunks that say which bytes of which stream they are, so that a terminal appends the new ones. */

import type { OutputData } from "../src/events.js";

export interface OutputChunk {
  readonly stream: string;
  /** That of its first byte in the stream. */
  readonly offset: number;
  readonly data: Uint8Array;
  /** How many bytes of the stream lie between the chunk before and this one and never came. */
  readonly missing: number;
  /** What the program's adapter says that it is. */
  readonly kind: string | undefined;
}

/** What is held of an output at one moment. It stays as it is, whatever comes after it. */
export class TaskOutput {
  readonly #chunks: readonly OutputChunk[];
  /** The number of the first chunk that is held: those before it are kept no more. */
  readonly first: number;
  /** The number of the next chunk. */
  readonly end: number;
  /** How many bytes have come of all streams, those that are kept no more included. */
  readonly bytes: number;
  /** How many bytes never came. */
  readonly missing: number;

  constructor(
    chunks: readonly OutputChunk[] = [],
    first = 0,
    count: number = chunks.length,
    bytes = 0,
    missing = 0,
  ) {
    this.#chunks = chunks;
    this.first = first;
    this.end = first + count;
    this.bytes = bytes;
    this.missing = missing;
  }

  /** All chunks from a number on: what is new for whoever has shown those up to the `end` of an earlier output. */
  since(number = 0): readonly OutputChunk[] {
    return this.#chunks.slice(Math.max(0, number - this.first), this.end - this.first);
  }

  /** All chunks that are held. */
  get chunks(): readonly OutputChunk[] {
    return this.since();
  }

  /** What is held as text, of the streams that are named or of all; bytes that are no UTF-8 as �. */
  text(...streams: string[]): string {
    const decoders = new Map<string, TextDecoder>();
    let text = "";
    for (const { stream, data } of this.since()) {
      if (streams.length > 0 && !streams.includes(stream)) continue;
      const decoder = decoders.get(stream) ?? new TextDecoder("utf-8", { ignoreBOM: true });
      decoders.set(stream, decoder);
      text += decoder.decode(data, { stream: true });
    }
    for (const decoder of decoders.values()) text += decoder.decode();
    return text;
  }
}

/** Takes chunks as they come, and holds the last so many bytes of them. */
export class OutputCollector {
  readonly #maxBytes: number;
  readonly #isWhole: boolean;
  /** Appended to and never changed otherwise: outputs that were given out read it. */
  #chunks: OutputChunk[] = [];
  #first = 0;
  #held = 0;
  #bytes = 0;
  #missing = 0;
  readonly #next = new Map<string, number>();
  #output: TaskOutput | undefined;

  /** `isWhole`: it gets the output from its first byte on; else a stream begins with the first that comes of it. */
  constructor(maxBytes: number, isWhole: boolean) {
    this.#maxBytes = maxBytes;
    this.#isWhole = isWhole;
  }

  /** The same one as long as nothing has come. */
  get output(): TaskOutput {
    if (!this.#output) {
      this.#drop();
      this.#output = new TaskOutput(
        this.#chunks,
        this.#first,
        this.#chunks.length,
        this.#bytes,
        this.#missing,
      );
    }
    return this.#output;
  }

  /** The `data` of the next `task_output`. Bytes that came before are cut off; what is no chunk counts as not come. */
  add(given: unknown): void {
    const chunk = readChunk(given);
    if (!chunk) return;
    const { stream, offset, data, kind } = chunk;
    const next = this.#next.get(stream) ?? (this.#isWhole ? 0 : offset);
    const missing = Math.max(0, offset - next);
    const more = data.subarray(Math.max(0, next - offset));
    if (more.length === 0) return;
    this.#chunks.push({ stream, offset: Math.max(offset, next), data: more, missing, kind });
    this.#next.set(stream, offset + data.length);
    this.#held += more.length;
    this.#bytes += more.length;
    this.#missing += missing;
    this.#output = undefined;
  }

  #drop(): void {
    // Only now and then, so that each chunk is moved a few times at most.
    if (this.#held <= this.#maxBytes * 1.25) return;
    let count = 0;
    for (; this.#held > this.#maxBytes; count += 1) this.#held -= this.#chunks[count]?.data.length ?? 0;
    this.#chunks = this.#chunks.slice(count);
    this.#first += count;
  }
}

type Read = Pick<OutputChunk, "stream" | "offset" | "data" | "kind">;

function readChunk(given: unknown): Read | undefined {
  const { stream, offset, bytes, text, base64, kind } = given as Partial<OutputData>;
  if (typeof stream !== "string" || !Number.isInteger(offset) || (offset as number) < 0) return undefined;
  const data = typeof text === "string" ? new TextEncoder().encode(text) : decoded(base64);
  if (!data || (bytes !== undefined && bytes !== data.length)) return undefined;
  return { stream, offset: offset as number, data, kind: typeof kind === "string" ? kind : undefined };
}

function decoded(base64: unknown): Uint8Array | undefined {
  if (typeof base64 !== "string") return undefined;
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
