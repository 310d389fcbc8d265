import { isEvent, type LastseenEvent } from "@lastseen/client";
import { outcomeOf } from "../parts/sentences";

const SHOWN = 5;

interface ReceiptsProps {
  readonly said: string;
  readonly events: readonly LastseenEvent[];
}

/** What became of what was sent to a task: from here, and by whom else. */
export function Receipts({ said, events }: ReceiptsProps) {
  const receipts = events
    .filter((event) => isEvent(event, "task_command"))
    .filter(({ data }) => data.state !== "accepted" && data.command !== "task_start")
    .slice(-SHOWN);
  return (
    <>
      <p role="status" className="said">
        {said}
      </p>
      {receipts.length > 0 && (
        <ul className="receipts" aria-label="The last commands">
          {receipts.map(({ id, data }) => (
            <li key={id}>
              {data.by}: {outcomeOf(data)}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
