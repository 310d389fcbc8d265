import type { HistoryPage } from "@lastseen/client/http";
import { useEffect, useState } from "react";
import { useChannels } from "../history/channels";
import { when } from "../history/when";
import { Event } from "../parts/Event";
import { Trouble } from "../parts/Trouble";
import { fullTime } from "../parts/time";
import { go, historyPath, useAddress } from "../shell/route";
import { usePolled } from "../shell/service";
import { after, type Shown } from "../task/follow";

const PER_PAGE = 50;
const DAY = 86_400_000;

/** What happened, from any time on, forward and backward. The place is in the address: it can be sent to somebody. */
export function History() {
  const asked = useAddress().searchParams;
  const channels = useChannels();
  const chosen = asked.get("channel") ?? "";
  const at = asked.get("at");
  const [turned, setTurned] = useState<{ of: string; query: string } | null>(null);
  const [said, setSaid] = useState("");
  const [now] = useState(() => Date.now());
  const names = chosen === "" ? channels : [chosen];
  const of = `${chosen} ${at}`;
  const start = at === null ? "before=latest" : `since=${encodeURIComponent(at)}`;
  const base =
    names &&
    `events?limit=${PER_PAGE}&${names.map((name) => `channel=${encodeURIComponent(name)}`).join("&")}`;
  const query = turned?.of === of ? turned.query : start;
  const { value: page, error } = usePolled<HistoryPage & { order: string }>(
    base ? `${base}&${query}` : null,
    3_600_000,
  );
  const { value: oldest } = usePolled<HistoryPage>(
    base ? `${base}&after=earliest&limit=1`.replace(`limit=${PER_PAGE}&`, "") : null,
    3_600_000,
  );
  const first = Date.parse(oldest?.events[0]?.appended_at ?? "") || now - DAY;
  const events =
    page === undefined ? undefined : page.order === "log" ? page.events : [...page.events].reverse();
  const [slid, setSlid] = useState<number | null>(null);
  const to = (time: Date): void =>
    go(
      `/history?${new URLSearchParams({ ...(chosen === "" ? {} : { channel: chosen }), at: time.toISOString() })}`,
    );
  // biome-ignore lint/correctness/useExhaustiveDependencies: only once the slider rests.
  useEffect(() => {
    if (slid === null) return;
    const timer = setTimeout(() => {
      to(new Date(slid));
      setSlid(null);
    }, 300);
    return () => clearTimeout(timer);
  }, [slid]);
  const time = slid ?? (at === null ? now : Date.parse(at));
  const turn = (next: string): void => setTurned({ of, query: next });
  return (
    <>
      <header className="title">
        <h1>History</h1>
        <input
          data-search
          list="channels"
          aria-label="Channel"
          placeholder="all my channels"
          defaultValue={chosen}
          key={chosen}
          onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
          onBlur={(event) =>
            event.target.value !== chosen && go(historyPath(event.target.value, at ?? undefined))
          }
        />
        <datalist id="channels">
          {channels?.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </datalist>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const found = when(said, Date.now());
            if (found) to(found);
          }}
        >
          <input
            aria-label="When"
            placeholder="yesterday 10:00, 2 h ago"
            value={said}
            onChange={(event) => setSaid(event.target.value)}
          />{" "}
          <button type="submit" disabled={when(said, now) === null}>
            Go
          </button>
        </form>
        <button type="button" onClick={() => to(when("yesterday 10:00", Date.now()) ?? new Date())}>
          Yesterday 10:00
        </button>
      </header>
      <div className="line">
        <input
          type="range"
          aria-label="Time"
          aria-valuetext={fullTime(time)}
          min={Math.min(first, time)}
          max={now}
          step={1000}
          value={time}
          onChange={(event) => setSlid(Number(event.target.value))}
        />
        <span>{fullTime(time)}</span>
      </div>
      <div className="line">
        <button
          type="button"
          disabled={!page?.previous}
          onClick={() => page?.previous && turn(`before=${encodeURIComponent(page.previous)}`)}
        >
          Older
        </button>
        <button
          type="button"
          disabled={!page || page.next === page.watermark}
          onClick={() => page && turn(`after=${encodeURIComponent(page.next)}`)}
        >
          Newer
        </button>
      </div>
      <Trouble error={error} />
      {page?.gap && <p className="problem">Events before these are no longer held ({page.gap.reason}).</p>}
      {events?.length === 0 && (
        <p className="empty">
          Nothing from then on: try an earlier time, or run something: <code>./dev run -- echo hello</code>
        </p>
      )}
      {chosen.startsWith("task:") && events && events.length > 0 && (
        <p>
          By the end of this page the task was <b>{stateAfter(chosen, events).status}</b>, as far as these
          events say.
        </p>
      )}
      <ul className="list">
        {events?.map((event) => (
          <Event key={event.id} event={event} />
        ))}
      </ul>
    </>
  );
}

function stateAfter(channel: string, events: HistoryPage["events"]): Shown {
  const begun: Shown = {
    id: channel.slice(5),
    project_id: null,
    user_id: null,
    status: "running",
    started_at: null,
    ended_at: null,
    progress: null,
    confirmation: null,
    result: null,
  };
  return events.reduce(after, begun);
}
