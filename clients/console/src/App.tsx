import { useEffect, useState } from "react";
import { type Session, forget, kept, renew, signIn, takeCode } from "./session";

// At once, and once: strict mode runs effects twice, and a code is good for one use.
const code = takeCode();
const starting: Promise<Session | null> =
  code === null ? Promise.resolve(kept(Date.now())) : signIn(code);

export function App() {
  const [session, setSession] = useState<Session | null>(null);
  const [said, setSaid] = useState<string | null>("Signing in …");

  useEffect(() => {
    let shown = true;
    starting.then(
      (found) => {
        if (!shown) return;
        setSession(found);
        setSaid(found === null ? "Open the link that `lastseen console` prints." : null);
      },
      (error: Error) => shown && setSaid(error.message),
    );
    return () => {
      shown = false;
    };
  }, []);

  useEffect(() => {
    if (session === null) return;
    const left = Date.parse(session.expires_at) - Date.now();
    const timer = setTimeout(() => {
      renew(session).then(setSession, () => {
        forget();
        setSession(null);
        setSaid("The session has ended: open the link that `lastseen console` prints.");
      });
    }, Math.max(left / 2, 1000));
    return () => clearTimeout(timer);
  }, [session]);

  return (
    <main>
      <h1>Lastseen</h1>
      {session === null ? <p role="status">{said}</p> : <p>Signed in as {session.user}.</p>}
    </main>
  );
}
