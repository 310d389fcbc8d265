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
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
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
  // Positions of the client are kept there, too, and are nobody else's.
  sessionStorage.clear();
}

/** Spend a code. Throws Problem where there is no such code any more. */
export async function signIn(code: string): Promise<Session> {
  return keep((await call("POST", "console/session", { code })) as Session);
}

/** Use an access token that somebody else has signed. Throws Problem, or a sentence where it is none. */
export async function signInWith(token: string): Promise<Session> {
  const session = readToken(token);
  await call("GET", "projects?limit=1", undefined, token);
  return keep(session);
}

/** A fresh token for one that is good, with which the session goes on. */
export async function renew(session: Session): Promise<Session> {
  return keep((await call("POST", "console/renew", undefined, session.token)) as Session);
}

/** What a JWT says of its user; whether it is good, only the service knows. Throws where it is no JWT. */
export function readToken(token: string): Session {
  const [, payload] = token.split(".");
  let claims: Record<string, unknown>;
  try {
    const bytes = Uint8Array.from(atob((payload ?? "").replace(/-/g, "+").replace(/_/g, "/")), (one) =>
      one.charCodeAt(0),
    );
    claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  } catch {
    throw new Error("That is no access token: paste what `lastseen token --user NAME` prints.");
  }
  const { sub, exp, role, roles } = claims;
  if (typeof sub !== "string" || typeof exp !== "number") {
    throw new Error("The token names no user or no end: it needs `sub` and `exp`.");
  }
  const named = [role, ...(Array.isArray(roles) ? roles : [])];
  const isAdmin = named.includes("admin") || named.includes("super_admin");
  return {
    token,
    user: sub,
    role: isAdmin ? "admin" : "user",
    expires_at: new Date(exp * 1000).toISOString(),
  };
}

function keep(session: Session): Session {
  sessionStorage.setItem(KEY, JSON.stringify(session));
  return session;
}

async function call(method: string, path: string, body?: unknown, token?: string): Promise<unknown> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token !== undefined) headers.Authorization = `Bearer ${token}`;
  let answer: Response;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Problem(0, "unavailable", "The service does not answer: is it running?");
  }
  const read = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string };
  if (answer.ok) return read;
  throw new Problem(
    answer.status,
    read.code ?? "unknown",
    read.detail ?? `The service answered ${answer.status}.`,
  );
}
