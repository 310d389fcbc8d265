import type { CommandResult } from "@lastseen/client";
import { type FormEvent, lazy, useEffect, useState, useSyncExternalStore } from "react";
import { Link } from "../parts/Link";
import { Rows } from "../parts/Rows";
import { endingOf, outcomeOf } from "../parts/sentences";
import { Trouble } from "../parts/Trouble";
import { shortTime } from "../parts/time";
import { historyPath, projectPath } from "../shell/route";
import { useService } from "../shell/service";
import { FollowedTask } from "../task/follow";

const Terminal = lazy(() => import("../task/Terminal"));

/** A task: what it says, how it is, and what can be said to it. */
export default function Task({ id }: { readonly id: string }) {
  const { client, http } = useService();
  const [task, setTask] = useState<FollowedTask>(() => new FollowedTask());
  useEffect(() => {
    const followed = new FollowedTask();
    const stop = new AbortController();
    setTask(followed);
    void followed.follow(id, http, client, stop.signal);
    return () => stop.abort();
  }, [id, http, client]);
  useSyncExternalStore(task.subscribe, () => task.version);
  const [said, setSaid] = useState("");
  const [text, setText] = useState("");

  const act = (command: string, asked: Promise<CommandResult>): void => {
    setSaid(`${command} …`);
    asked.then(
      (result) => setSaid(outcomeOf({ command, state: result.state, reason: result.reason })),
      (error: Error) => setSaid(error.message),
    );
  };
  const send = (event: FormEvent): void => {
    event.preventDefault();
    act("input", client.sendTaskInput(id, `${text}\n`));
    setText("");
  };
  const { state, output } = task;
  if (!state) return task.error ? <Trouble error={task.error} /> : <p role="status">Loading …</p>;
  const isOver = state.ended_at !== null;
  const question = state.confirmation;
  const percent = state.progress?.percent;
  const open = output.open;
  const lines = output.lines;
  return (
    <div className="task">
      <header className="title">
        <h1>{id}</h1> <span className={`state ${state.status}`}>{state.status}</span>
        {endingOf(state.result) && <span className="soft">{endingOf(state.result)}</span>}
        <span className="soft">
          {state.project_id && <Link to={projectPath(state.project_id)}>{state.project_id}</Link>}{" "}
          {state.user_id} {state.started_at && shortTime(state.started_at, Date.now())}{" "}
          <Link to={historyPath(`task:${id}`)}>History</Link>
        </span>
        <span className="buttons">
          {state.status === "paused" ? (
            <button type="button" onClick={() => act("resume", client.resumeTask(id))}>
              Resume
            </button>
          ) : (
            <button type="button" disabled={isOver} onClick={() => act("pause", client.pauseTask(id))}>
              Pause
            </button>
          )}
          <button
            type="button"
            className="danger"
            disabled={isOver}
            onClick={() => act("cancel", client.cancelTask(id))}
          >
            Cancel
          </button>
        </span>
      </header>
      {typeof percent === "number" && (
        <progress max={100} value={percent} aria-label="Progress" title={`${percent} %`} />
      )}
      {question && !isOver && (
        <section className="question" role="alert">
          <strong>{String(question.question ?? question.tool ?? "The task asks to go on.")}</strong>
          {question.input !== undefined && <pre>{JSON.stringify(question.input, null, 2)}</pre>}
          <button
            type="button"
            className="primary"
            onClick={() => act("confirm", client.confirmTask(id, String(question.confirmation_id), true))}
          >
            Allow
          </button>{" "}
          <button
            type="button"
            onClick={() => act("confirm", client.confirmTask(id, String(question.confirmation_id), false))}
          >
            Deny
          </button>
        </section>
      )}
      {task.error && <Trouble error={task.error} />}
      {task.gap && (
        <p className="problem">A part of this task is no longer held; the output may begin in the middle.</p>
      )}
      {!task.isTerminal ? (
        <Rows
          count={lines.length + open.length}
          label="Output"
          row={(at) => {
            const line = lines[at] ?? open[at - lines.length];
            return <span className={line?.stream}>{line?.text}</span>;
          }}
        />
      ) : (
        <Terminal
          key={task.screen ? "screen" : "none"}
          task={task}
          onInput={(typed) => client.sendTaskInput(id, typed).catch((error: Error) => setSaid(error.message))}
        />
      )}
      <form className="line" onSubmit={send}>
        <input
          data-search
          aria-label="Input"
          placeholder={isOver ? "The task has ended" : "Input, sent with Enter"}
          disabled={isOver}
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" disabled={isOver}>
          Send
        </button>
      </form>
      <p role="status" className="said">
        {said}
      </p>
      <ul className="receipts">
        {task.receipts.slice(-5).map((one) => (
          <li key={one.id}>{one.text}</li>
        ))}
      </ul>
    </div>
  );
}
