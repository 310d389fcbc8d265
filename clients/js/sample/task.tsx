/** A task: its status, its output, an input box and a way to cancel it. */

import { useConnection, useEvent, useTaskWebSocket } from "@lastseen/client/react";
import { type FormEvent, type ReactElement, useState } from "react";
import { Terminal } from "./terminal.js";

interface Followed {
  readonly taskId: string;
  readonly projectId: string | undefined;
}

export function Task({ taskId, projectId }: Followed): ReactElement {
  const task = useTaskWebSocket(taskId, projectId);
  const { output, taskStatus, hasEnded, gaps, error } = task;
  const [answer, setAnswer] = useState("");

  async function act(what: () => Promise<{ readonly state: string; readonly reason: string | null }>) {
    try {
      const { state, reason } = await what();
      setAnswer(reason === null ? state : `${state}: ${reason}`);
    } catch (failure) {
      setAnswer(String(failure));
    }
  }

  return (
    <>
      <h1>{taskId}</h1>
      <Line />
      <p>
        Status: <output id="status">{taskStatus ?? "not known"}</output>, {output.bytes} bytes
        {output.missing > 0 && <strong id="missing">, {output.missing} bytes are missing</strong>}
        {gaps.length > 0 && <strong id="gaps">, {gaps.length} gaps</strong>}
        {error && <strong id="error">, {error.message}</strong>}
      </p>
      <Terminal output={output} />
      <Input
        isEnabled={!hasEnded}
        onInput={(text) => act(() => task.sendTaskInput(text))}
        onCancel={() => act(() => task.cancelTask())}
      />
      <p id="answer">{answer}</p>
    </>
  );
}

/** The connection, and how often it came and was tried for. */
function Line(): ReactElement {
  const { state, connectionError } = useConnection();
  const [connections, setConnections] = useState(0);
  const [attempts, setAttempts] = useState(0);
  useEvent("connected", () => setConnections((count) => count + 1));
  useEvent("reconnecting", () => setAttempts((count) => count + 1));
  return (
    <p id="line" data-state={state} data-connections={connections} data-attempts={attempts}>
      {state}
      {connectionError && `: ${connectionError.message}`}
    </p>
  );
}

interface InputProps {
  readonly isEnabled: boolean;
  readonly onInput: (text: string) => void;
  readonly onCancel: () => void;
}

function Input({ isEnabled, onInput, onCancel }: InputProps): ReactElement {
  const [text, setText] = useState("");

  function submit(event: FormEvent): void {
    event.preventDefault();
    onInput(`${text}\n`);
    setText("");
  }

  return (
    <form onSubmit={submit}>
      <input id="input" aria-label="Input" value={text} onChange={(event) => setText(event.target.value)} />
      <button id="send" type="submit" disabled={!isEnabled}>
        Send
      </button>
      <button id="cancel" type="button" disabled={!isEnabled} onClick={onCancel}>
        Cancel
      </button>
    </form>
  );
}
