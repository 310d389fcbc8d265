/** Who is signed in, and until when. Kept for this tab alone: it goes when the tab does. */
export interface Session {
  readonly token: string;
  readonly user: string;
  readonly role: string;
  /** ISO 8601. */
  readonly expires_at: string;
}

const KEY = "lastseen.session";

/** What the service refuses with (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** The one-use code of `…/#code=…`, which is taken out of the address, so that nobody copies or bookmarks it. */
export function takeCode(): string | null {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** The session of this tab, if it has one that is good. */
export function kept(now: number): Session | null {
  const text = sessionStorage.getItem(KEY);
  if (text === null) return null;
  const session = JSON.parse(text) as Session;
  return Date.parse(session.expires_at) > now ? session : null;
}

export function forget(): void {
  sessionStorage.removeItem(KEY);
}

/** Spend a code. Throws Problem where there is no such code any more. */
export async function signIn(code: string): Promise<Session> {
  return keep(await post("/api/v1/console/session", { code }));
}

/** A fresh token for one that is good, with which the session goes on. */
export async function renew(session: Session): Promise<Session> {
  return keep(await post("/api/v1/console/renew", undefined, session.token));
}

function keep(session: Session): Session {
  sessionStorage.setItem(KEY, JSON.stringify(session));
  return session;
}

async function post(path: string, body?: unknown, token?: string): Promise<Session> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, {
    method: "POST",
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const read: unknown = await answer.json();
  if (answer.ok) return read as Session;
  const { code, detail } = read as { code: string; detail: string };
  throw new Problem(answer.status, code, detail);
}
