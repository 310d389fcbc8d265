import type { LastseenError } from "@lastseen/client";
import { sentenceOf } from "./sentences";

/** What went wrong, and what to do. */
export function Trouble({ error }: { readonly error: Error | LastseenError | undefined }) {
  if (error === undefined) return null;
  return (
    <p role="alert" className="problem">
      {sentenceOf(error)}
    </p>
  );
}
