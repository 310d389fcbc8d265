import type { HistoryPage } from "@lastseen/client/http";
import { useEffect, useState } from "react";
import { ChannelField } from "../history/ChannelField";
import { useChannels } from "../history/channels";
import { Then } from "../history/Then";
import { when } from "../history/when";
import { Event } from "../parts/Event";
import { Trouble } from "../parts/Trouble";
import { fullTime, shortTime } from "../parts/time";
import { go, useAddress } from "../shell/route";
import { usePolled } from "../shell/service";
import "../history/history.css";

const PER_PAGE = 50;
const DAY = 86_400_000;
const HOUR = 3_600_000;

/** What happened, from any time on, forward and backward. The place is in the address: it can be sent to somebody. */
export function History() {
  const asked = useAddress().searchParams;
  const channels = useChannels();
  const chosen = asked.get("channel") ?? "";
  const at = asked.get("at");
  const [turned, setTurned] = useState<{ of: string; query: string } | null>(null);
  const [now] = useState(() => Date.now());
  const names = chosen === "" ? channels?.names : [chosen];
  const of = `${chosen} ${at}`;
  const start = at === null ? "before=latest" : `since=${encodeURIComponent(at)}`;
  const base = names && `events?${names.map((name) => `channel=${encodeURIComponent(name)}`).join("&")}`;
  const query = turned?.of === of ? turned.query : start;
  const { value: page, error } = usePolled<HistoryPage & { order: string }>(
    base ? `${base}&limit=${PER_PAGE}&${query}` : null,
    HOUR,
  );
  const { value: oldest } = usePolled<HistoryPage>(base ? `${base}&after=earliest&limit=1` : null, HOUR);
  const events = page && (page.order === "log" ? page.events : [...page.events].reverse());
  const to = (time: string | null, channel = chosen): void =>
    go(
      `/history?${new URLSearchParams({ ...(channel === "" ? {} : { channel }), ...(time === null ? {} : { at: time }) })}`,
    );
  const turn = (next: string): void => setTurned({ of, query: next });
  const times = events?.map((event) => event.appended_at ?? event.timestamp);
  return (
    <>
      <header className="title">
        <h1>History</h1>
        <ChannelField names={channels?.names ?? []} chosen={chosen} onChoose={(channel) => to(at, channel)} />
      </header>
      <Moment
        at={at}
        now={now}
        first={Date.parse(oldest?.events[0]?.appended_at ?? "") || now - DAY}
        onChoose={to}
      />
      {chosen === "" && channels?.isCut && (
        <p className="soft">
          You can read more projects than one question takes: to see another, name its channel above.
        </p>
      )}
      {/^(task|project):/.test(chosen) && <Then channel={chosen} at={at} />}
      <Trouble error={error} />
      {page?.gap && <p className="problem">Events before these are no longer held ({page.gap.reason}).</p>}
      <div className="line turning">
        <button
          type="button"
          disabled={!page?.previous}
          onClick={() => page?.previous && turn(`before=${encodeURIComponent(page.previous)}`)}
        >
          ← Older
        </button>
        <span className="range">
          {times && times.length > 0
            ? `${shortTime(times[0] ?? 0, now)} to ${shortTime(times.at(-1) ?? 0, now)}, the oldest first`
            : ""}
        </span>
        <button
          type="button"
          disabled={!page || page.next === page.watermark}
          onClick={() => page && turn(`after=${encodeURIComponent(page.next)}`)}
        >
          Newer →
        </button>
      </div>
      {events?.length === 0 && (
        <p className="empty">
          Nothing from then on: try an earlier time, or run something: <code>./dev run -- echo hello</code>
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

interface MomentProps {
  readonly at: string | null;
  /** Of the page, and of the first event, in ms. */
  readonly now: number;
  readonly first: number;
  /** RFC 3339; null: now. */
  readonly onChoose: (time: string | null) => void;
}

/** The time that is looked at: said in words, or slid to. */
function Moment({ at, now, first, onChoose }: MomentProps) {
  const [said, setSaid] = useState("");
  const [slid, setSlid] = useState<number | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only once the slider rests.
  useEffect(() => {
    if (slid === null) return;
    const timer = setTimeout(() => {
      onChoose(new Date(slid).toISOString());
      setSlid(null);
    }, 300);
    return () => clearTimeout(timer);
  }, [slid]);
  const time = slid ?? (at === null ? now : Date.parse(at));
  const found = when(said, now);
  const [oldest, newest] = [Math.min(first, time), Math.max(now, time)];
  return (
    <section className="moment" aria-label="Time">
      <form
        className="field"
        onSubmit={(event) => {
          event.preventDefault();
          const meant = when(said, Date.now());
          if (meant) onChoose(meant.toISOString());
        }}
      >
        <label>
          From{" "}
          <input
            data-search
            aria-label="When"
            placeholder="yesterday 10:00"
            title="yesterday 10:00, 9:30, 2 h ago, 2026-01-31 12:00"
            value={said}
            aria-invalid={said !== "" && found === null}
            onChange={(event) => setSaid(event.target.value)}
          />
        </label>{" "}
        <button type="submit" disabled={found === null}>
          Go
        </button>
      </form>
      <span className="buttons">
        <button type="button" onClick={() => onChoose(when("1 h ago", Date.now())?.toISOString() ?? null)}>
          An hour ago
        </button>
        <button
          type="button"
          onClick={() => onChoose(when("yesterday 10:00", Date.now())?.toISOString() ?? null)}
        >
          Yesterday 10:00
        </button>
        <button type="button" disabled={at === null} onClick={() => onChoose(null)}>
          Now
        </button>
      </span>
      <div className="slide">
        <input
          type="range"
          aria-label="Time"
          aria-valuetext={fullTime(time)}
          min={oldest}
          max={newest}
          step={Math.min(60_000, Math.max(1, Math.floor((newest - oldest) / 1000)))}
          value={time}
          onChange={(event) => setSlid(Number(event.target.value))}
        />
        <span>{at === null && slid === null ? "now" : fullTime(time)}</span>
      </div>
    </section>
  );
}
