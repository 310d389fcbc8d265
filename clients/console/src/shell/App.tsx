import { useEffect, useMemo, useRef, useState } from "react";
import { forget, kept, renew, type Session, signIn, takeCode } from "../session";
import { Shell } from "./Shell";
import { SignIn } from "./SignIn";
import { openService, ServiceContext } from "./service";

// At once, and once: strict mode runs effects twice, and a code is good for one use.
const code = takeCode();
const starting: Promise<Session | null> = code === null ? Promise.resolve(kept(Date.now())) : signIn(code);

export function App() {
  const [session, setSession] = useState<Session | null>(code === null ? kept(Date.now()) : null);
  const [said, setSaid] = useState<string | null>(null);
  const [isStarting, setStarting] = useState(session === null);

  useEffect(() => {
    let shown = true;
    starting
      .then(
        (found) => shown && setSession((had) => had ?? found),
        (error: Error) => shown && setSaid(error.message),
      )
      .finally(() => shown && setStarting(false));
    return () => {
      shown = false;
    };
  }, []);

  if (session === null) {
    return <SignIn said={said} isStarting={isStarting} onSession={setSession} />;
  }
  const leave = (why: string | null): void => {
    forget();
    setSession(null);
    setSaid(why);
  };
  return <SignedIn key={session.user} session={session} onSession={setSession} onLeave={leave} />;
}

interface SignedInProps {
  readonly session: Session;
  readonly onSession: (session: Session) => void;
  readonly onLeave: (why: string | null) => void;
}

function SignedIn({ session, onSession, onLeave }: SignedInProps) {
  const token = useRef(session.token);
  token.current = session.token;
  // One for the user, whatever tokens the session goes through.
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is made anew with its key.
  const service = useMemo(() => openService(session, () => token.current), []);

  useEffect(() => {
    service.client.connect().catch(() => undefined); // the state tells
    return () => service.client.disconnect();
  }, [service]);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const ended = (): void => onLeave("The session has ended: sign in again.");
    const wait = (): void => {
      const left = Date.parse(session.expires_at) - Date.now();
      if (left <= 0) {
        ended();
        return;
      }
      // Half of what is left, so that several attempts are made; a timer takes no more than 24 days.
      timer = setTimeout(
        () => renew(session).then(onSession, wait),
        Math.min(Math.max(left / 2, 1000), 2 ** 31 - 1),
      );
    };
    wait();
    return () => clearTimeout(timer);
  }, [session, onSession, onLeave]);

  return (
    <ServiceContext value={service}>
      <Shell onSignOut={() => onLeave(null)} />
    </ServiceContext>
  );
}
