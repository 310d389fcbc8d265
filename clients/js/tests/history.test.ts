/** The past over HTTP: pages, what passes and what does not. */

import { describe, expect, test } from "vitest";
import { HttpClient } from "../src/http-client.js";
import type { Clock } from "../src/options.js";

/** Time goes by at once. */
const CLOCK: Clock = { now: () => 0, random: () => 0, setTimeout: queueMicrotask, clearTimeout: () => {} };

/** A service that holds ten events, and says first what it is told to. */
function service(...first: Response[]): { fetch: typeof fetch; asked: URL[] } {
  const asked: URL[] = [];
  const token = (offset: number): string => `k:0=${offset}`;
  const answer = async (address: URL): Promise<Response> => {
    asked.push(address);
    const early = first.shift();
    if (early) return early;
    const query = address.searchParams;
    const limit = Number(query.get("limit"));
    const at = (name: string, otherwise: number): number =>
      Number(query.get(name)?.split("=")[1] ?? otherwise);
    const isBackward = query.get("before") !== null && query.get("after") === null;
    const before = query.get("before") === "latest" ? 9 : at("before", 9);
    const from = isBackward
      ? Math.max(-1, before - limit)
      : query.get("after") === "earliest"
        ? -1
        : at("after", -1);
    const upto = Math.min(before, from + limit);
    const events = [];
    for (let offset = from + 1; offset <= upto; offset += 1)
      events.push({ id: `e${offset}`, offset, partition: 0 });
    if (isBackward) events.reverse();
    return Response.json({
      events,
      next: token(upto),
      previous: from < 0 ? null : token(from),
      watermark: token(before),
    });
  };
  return { fetch: answer as unknown as typeof fetch, asked };
}

const client = (fetched: typeof fetch, token: string | (() => string) = "t"): HttpClient =>
  new HttpClient({ url: "wss://lastseen.test/", token, fetch: fetched, clock: CLOCK });

const problem = (status: number, body: object, headers: Record<string, string> = {}): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });

describe("history", () => {
  test("forward, page by page, to where the log ended when it was asked", async () => {
    const { fetch, asked } = service();
    const history = client(fetch).history("task:t", { pageSize: 4, types: ["a", "b"] });
    const got: number[] = [];
    for await (const { offset } of history) got.push(offset);
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(history.position).toBe("k:0=9");
    expect(asked.map((one) => one.searchParams.get("after"))).toEqual(["earliest", "k:0=3", "k:0=7"]);
    expect(asked[0]?.href).toContain("https://lastseen.test/api/v1/events?channel=task%3At&type=a&type=b");
  });

  test("the newest, in the order of their times", async () => {
    const { fetch } = service();
    const got: number[] = [];
    for await (const { offset } of client(fetch).history("task:t", { newest: 5, pageSize: 2 }))
      got.push(offset);
    expect(got).toEqual([5, 6, 7, 8, 9]);
  });

  test("what passes is asked again, and a refused token is renewed once", async () => {
    let made = 0;
    const { fetch, asked } = service(
      problem(503, { code: "history_unavailable" }, { "Retry-After": "1" }),
      problem(401, { detail: "Invalid token" }),
    );
    const page = await client(fetch, () => `t${++made}`)
      .history("task:t")
      .pages()
      .next();
    expect(page.value?.events.length).toBe(10);
    expect([asked.length, made]).toEqual([3, 3]);
  });

  test.each([
    [403, { code: "access_denied", detail: "no" }, { code: "access_denied", status: 403, message: "no" }],
    [
      422,
      { code: "invalid", errors: [{ field: "since", detail: "no time" }] },
      { status: 422, message: "since: no time" },
    ],
    [401, {}, { code: "http_401", status: 401 }],
  ])("what does not pass is thrown: %i", async (status, body, error) => {
    const { fetch } = service(problem(status, body));
    await expect(client(fetch).task("t")).rejects.toMatchObject(error);
  });

  test("a signal stops the asking", async () => {
    const { fetch } = service(...Array.from({ length: 50 }, () => problem(503, {})));
    const signal = AbortSignal.abort();
    await expect(client(fetch).task("t", { signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});
