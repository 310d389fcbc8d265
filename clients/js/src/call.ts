/** Calls over HTTP: states, tasks, pages of history; again and again while the service is away. */

import { LastseenError } from "./errors.js";
import { type Clock, REAL_CLOCK, type Token } from "./options.js";

export interface HttpOptions {
  readonly url: string;
  readonly token: Token;
  readonly fetch?: typeof fetch | undefined;
  readonly clock?: Clock | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);
const BASE_MS = 250;
const CAP_MS = 10_000;

/** One answer: the JSON of it. Throws LastseenError; tries again what passes until the signal says stop. */
export async function call<T>(
  { url, token, fetch: fetched = fetch, clock = REAL_CLOCK }: HttpOptions,
  method: "GET" | "POST" | "DELETE",
  path: string,
  { query = {}, body, signal }: { query?: Query; body?: unknown } & CallOptions = {},
): Promise<T> {
  const address = new URL(`${url.replace(/^ws/, "http").replace(/\/$/, "")}/api/v1/${path}`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) address.searchParams.append(name, String(one));
    }
  }
  let renewed = false;
  for (let attempt = 0; ; attempt += 1) {
    signal?.throwIfAborted();
    let error: LastseenError;
    try {
      const bearer = typeof token === "function" ? await token() : token;
      const headers: Record<string, string> = {
        Authorization: `Bearer ${bearer}`,
        Accept: "application/json",
      };
      if (body !== undefined) headers["Content-Type"] = "application/json";
      const response = await fetched(address, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal ? { signal } : {}),
      });
      if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
      error = await problem(response);
    } catch (cause) {
      signal?.throwIfAborted();
      error = new LastseenError(`the service can't be reached: ${String(cause)}`, "unavailable", { cause });
    }
    const { status } = error;
    const mayRenew: boolean = status === 401 && typeof token === "function" && !renewed;
    if (status !== undefined && status < 500 && !PASSING.has(status) && !mayRenew) throw error;
    if (error.code === "no_runner") throw error;
    renewed ||= mayRenew;
    const step = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 16));
    await pause(Math.max(step * clock.random(), error.retryAfterMs ?? 0), clock, signal);
  }
}

async function problem(response: Response): Promise<LastseenError> {
  const { status } = response;
  const body = (await response.json().catch(() => ({}))) as {
    detail?: unknown;
    title?: unknown;
    code?: unknown;
    errors?: { field?: string; detail?: string }[];
  };
  const [first] = body.errors ?? [];
  const detail = first
    ? `${first.field}: ${first.detail}`
    : String(body.detail ?? body.title ?? response.statusText);
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return new LastseenError(detail, String(body.code ?? `http_${status}`), {
    status,
    retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
  });
}

function pause(ms: number, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}
