import { type FormEvent, useState } from "react";
import { Mark } from "../parts/Mark";
import { type Session, signInWith } from "../session";

interface SignInProps {
  readonly said: string | null;
  readonly isStarting: boolean;
  readonly onSession: (session: Session) => void;
}

/** Nobody is signed in: by the link of the terminal, or with an access token. */
export function SignIn({ said, isStarting, onSession }: SignInProps) {
  const [token, setToken] = useState("");
  const [refused, setRefused] = useState<string | null>(null);
  const [isAsking, setAsking] = useState(false);

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setAsking(true);
    signInWith(token.trim())
      .then(onSession, (error: Error) => setRefused(error.message))
      .finally(() => setAsking(false));
  };

  const problem = refused ?? said;
  return (
    <main className="sign-in">
      <h1>
        <Mark /> Lastseen
      </h1>
      {isStarting ? (
        <p role="status">Signing in …</p>
      ) : (
        <>
          {problem !== null && (
            <p role="alert" className="problem">
              {problem}
            </p>
          )}
          <p>On the machine that it runs on, open the link that this prints; it is good once:</p>
          <pre className="command">./dev console</pre>
          <form onSubmit={submit}>
            <label htmlFor="token">Or sign in with an access token</label>
            <div className="line">
              <input
                id="token"
                type="password"
                autoComplete="off"
                spellCheck={false}
                placeholder="eyJ…"
                value={token}
                onChange={(event) => setToken(event.target.value)}
              />
              <button type="submit" className="primary" disabled={isAsking || token.trim() === ""}>
                Sign in
              </button>
            </div>
          </form>
        </>
      )}
    </main>
  );
}
