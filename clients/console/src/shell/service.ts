/** The service as the signed-in user sees it: one connection for all pages, and calls over HTTP. */

import { type CommandResult, type LastseenError, WebSocketClient } from "@lastseen/client";
import { HttpClient } from "@lastseen/client/http";
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { Session } from "../session";

export interface Service {
  readonly client: WebSocketClient;
  readonly http: HttpClient;
  readonly user: string;
  readonly isAdmin: boolean;
}

export const ServiceContext = createContext<Service | null>(null);

export function useService(): Service {
  const service = useContext(ServiceContext);
  if (service === null) throw new Error("not signed in");
  return service;
}

/** `token` gives the session's token as it is then. */
export function openService(session: Session, token: () => string): Service {
  const url = location.origin;
  return {
    client: new WebSocketClient({ url, token, clientId: "console", autoAck: false }),
    http: new HttpClient({ url, token }),
    user: session.user,
    isAdmin: session.role === "admin" || session.role === "super_admin",
  };
}

/** What the connection is doing. */
export function useConnection(): { readonly state: string; readonly error: LastseenError | undefined } {
  const { client } = useService();
  const state = useSyncExternalStore(
    (changed) => client.on("state", changed),
    () => client.state,
  );
  return { state, error: client.connectionError };
}

/** What a call answered last, and what went wrong with the newest. */
export interface Answered<T> {
  readonly value: T | undefined;
  readonly error: LastseenError | undefined;
}

/** Ask again and again: every `ms`, and at once when the path changes or the page is looked at again. */
export function usePolled<T>(path: string | null, ms: number): Answered<T> & { readonly again: () => void } {
  const { http } = useService();
  const [answered, setAnswered] = useState<Answered<T> & { path: string | null }>(NOTHING);
  const [asked, setAsked] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `asked` asks again.
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      try {
        if (!document.hidden) {
          const value = await http.get<T>(path, { signal: stop.signal });
          if (!stop.signal.aborted) setAnswered({ path, value, error: undefined });
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        setAnswered((last) => ({
          path,
          value: last.path === path ? last.value : undefined,
          error: error as LastseenError,
        }));
      }
      if (!stop.signal.aborted) timer = setTimeout(ask, ms);
    };
    const look = (): void => {
      if (document.hidden) return;
      clearTimeout(timer);
      timer = setTimeout(ask, 0);
    };
    void ask();
    document.addEventListener("visibilitychange", look);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [http, path, ms, asked]);
  const { value, error } = answered.path === path ? answered : NOTHING;
  return { value, error, again: () => setAsked((times) => times + 1) } as Answered<T> & { again: () => void };
}

const NOTHING = { path: null, value: undefined, error: undefined };

export type Command = () => Promise<CommandResult>;
