import type { LastseenEvent } from "@lastseen/client";
import { useEffect, useRef, useState } from "react";
import { useChannels } from "../history/channels";
import { fits } from "../history/filter";
import { Event } from "../parts/Event";
import { useService } from "../shell/service";
import { useKeys } from "../shell/useKeys";

const MOST = 1000;
const SHOWN = 200;

/** What happens, as it happens: the newest first. */
export function Feed() {
  const { client } = useService();
  const channels = useChannels();
  const [events, setEvents] = useState<readonly LastseenEvent[]>([]);
  const [isPaused, setPaused] = useState(false);
  const [filter, setFilter] = useState({ channel: "", type: "", text: "" });
  const all = useRef<LastseenEvent[]>([]);
  const paused = useRef(false);
  paused.current = isPaused;
  useKeys((action) => {
    if (action.kind !== "pause") return false;
    setPaused(!paused.current);
    return true;
  });
  useEffect(() => {
    const had = new Set(all.current.map((one) => one.id));
    const take = (event: LastseenEvent): void => {
      if (had.has(event.id)) return;
      had.add(event.id);
      all.current.push(event);
      if (all.current.length > MOST) for (const gone of all.current.splice(0, MOST / 4)) had.delete(gone.id);
    };
    const followed = channels?.map((channel) => client.subscribe(channel, { last: 20, onEvent: take }));
    const timer = setInterval(() => {
      if (!paused.current)
        setEvents((shown) => (shown.at(-1) === all.current.at(-1) ? shown : [...all.current]));
    }, 150);
    return () => {
      clearInterval(timer);
      for (const one of followed ?? []) one.unsubscribe();
    };
  }, [client, channels]);
  const shown = events
    .filter((event) => fits(event, filter))
    .slice(-SHOWN)
    .reverse();
  return (
    <>
      <header className="title">
        <h1>Live feed</h1>
        {(["text", "type", "channel"] as const).map((name) => (
          <input
            key={name}
            data-search={name === "text" ? "" : undefined}
            aria-label={`Filter by ${name}`}
            placeholder={name}
            value={filter[name]}
            onChange={(event) => setFilter({ ...filter, [name]: event.target.value })}
          />
        ))}
        <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
          {isPaused ? "Go on" : "Pause"}
        </button>
      </header>
      {shown.length === 0 && (
        <p className="empty">
          Nothing yet. Make something happen: <code>./dev run -- echo hello</code>
        </p>
      )}
      <ul className="list">
        {shown.map((event) => (
          <Event key={event.id} event={event} />
        ))}
      </ul>
    </>
  );
}
