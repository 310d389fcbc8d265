import type { HistoryPage, TaskState } from "@lastseen/client/http";
import { hasEnded, storesOf } from "@lastseen/client/stores";
import { lazy, Suspense, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { Link } from "../parts/Link";
import { endingOf } from "../parts/sentences";
import { Trouble } from "../parts/Trouble";
import { shortTime } from "../parts/time";
import { historyPath, projectPath } from "../shell/route";
import { usePolled, useService } from "../shell/service";
import { Actions, InputLine } from "./Acting";
import { begunOf, isShort, startOf } from "./follow";
import { Output } from "./Output";
import { Question } from "./Question";
import { Receipts } from "./Receipts";
import { Reading } from "./reading";
import { useActing } from "./useActing";
import "./task.css";

const Terminal = lazy(() => import("./Terminal"));

const ONCE = 86_400_000;

interface FollowedProps {
  readonly id: string;
  /** The state that it was in when the page was opened; it goes on from there. */
  readonly asked: TaskState;
}

/** A task as it is and goes on. */
export function Followed({ id, asked }: FollowedProps) {
  const { client } = useService();
  const [fromStart, setFromStart] = useState(() => isShort(asked));
  const store = useMemo(
    () => storesOf(client).task(id, undefined, startOf(asked, fromStart)),
    [client, id, asked, fromStart],
  );
  const { view, output, events, gaps, error } = useSyncExternalStore(store.subscribe, store.get);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another store is read from its beginning.
  const reading = useMemo(() => new Reading(), [store]);
  const { isTerminal, lines } = reading.take(output);
  const acting = useActing(id);
  const { screen } = asked;
  const [isCut, setCut] = useState(false);
  const hasHole = gaps.length > 0;
  useEffect(() => {
    if (!hasHole) return;
    setCut(true);
    // What is left of the stream would be drawn wrong; the screen is known.
    if (screen) setFromStart(false);
  }, [hasHole, screen]);
  const isOver = hasEnded(view);
  // Behind the screen its first event does not come again.
  const { value: start } = usePolled<HistoryPage>(
    fromStart
      ? null
      : `events?channel=${encodeURIComponent(`task:${id}`)}&type=task_started&after=earliest&limit=1`,
    ONCE,
  );
  const { command, size } = begunOf([...(start?.events ?? []), ...events]);
  const percent = view.progress?.percent;
  const ending = endingOf(view.result ?? null);
  return (
    <div className="task">
      <header className="title">
        <h1>{id}</h1> <span className={`state ${view.status}`}>{view.status}</span>
        {ending && <span className="soft">{ending}</span>}
        <Actions acting={acting} status={view.status} isOver={isOver} />
      </header>
      <p className="facts soft">
        {command && <code title={command}>{command}</code>}
        {asked.project_id && <Link to={projectPath(asked.project_id)}>{asked.project_id}</Link>}
        <span>
          {asked.user_id && `by ${asked.user_id}`}
          {asked.started_at && ` since ${shortTime(asked.started_at, Date.now())}`}
        </span>
        <Link to={historyPath(`task:${id}`)}>History</Link>
      </p>
      {typeof percent === "number" && (
        <label className="progress">
          <progress max={100} value={percent} aria-label="Progress" /> {Math.round(percent)} %
        </label>
      )}
      {view.confirmation && !isOver && (
        <Question key={String(view.confirmation.confirmation_id)} asked={view.confirmation} acting={acting} />
      )}
      <Trouble error={error} />
      {isCut && <p className="problem">A part of this task's output is no longer held.</p>}
      {isTerminal || screen ? (
        <Suspense fallback={<p role="status">Loading …</p>}>
          <Terminal
            key={fromStart ? "stream" : "screen"}
            store={store}
            screen={fromStart ? null : screen}
            size={screen ?? size}
            isOver={isOver}
            onInput={acting.type}
          />
          {!fromStart && !isCut && (
            <p className="soft">
              The screen as it is.{" "}
              <button type="button" onClick={() => setFromStart(true)}>
                Show all output
              </button>
            </p>
          )}
        </Suspense>
      ) : (
        <Output lines={lines} isOver={isOver} />
      )}
      <InputLine acting={acting} isOver={isOver} />
      <Receipts said={acting.said} events={events} />
    </div>
  );
}
