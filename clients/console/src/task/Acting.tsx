import { type FormEvent, useState } from "react";
import type { Acting } from "./useActing";

interface ActionsProps {
  readonly acting: Acting;
  readonly status: string | undefined;
  readonly isOver: boolean;
}

/** Pause, go on, cancel. */
export function Actions({ acting, status, isOver }: ActionsProps) {
  return (
    <span className="buttons">
      {status === "paused" ? (
        <button type="button" onClick={acting.resume}>
          Resume
        </button>
      ) : (
        <button type="button" disabled={isOver} onClick={acting.pause}>
          Pause
        </button>
      )}
      <button type="button" className="danger" disabled={isOver} onClick={acting.cancel}>
        Cancel
      </button>
    </span>
  );
}

/** A line of input for the program. */
export function InputLine({ acting, isOver }: { readonly acting: Acting; readonly isOver: boolean }) {
  const [text, setText] = useState("");
  const send = (event: FormEvent): void => {
    event.preventDefault();
    acting.input(`${text}\n`);
    setText("");
  };
  return (
    <form className="line" onSubmit={send}>
      <input
        data-search
        aria-label="Input"
        placeholder={isOver ? "The task has ended" : "Answer the program: type here, Enter sends it"}
        disabled={isOver}
        autoComplete="off"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <button type="submit" disabled={isOver}>
        Send
      </button>
    </form>
  );
}
