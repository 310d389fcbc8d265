import type { LastseenEvent } from "@lastseen/client";
import { useEffect, useMemo, useRef, useState } from "react";
import { ChannelField } from "../history/ChannelField";
import { useChannels } from "../history/channels";
import { fits } from "../history/filter";
import { Merged } from "../history/merged";
import { Event } from "../parts/Event";
import { Trouble } from "../parts/Trouble";
import { go, useAddress } from "../shell/route";
import { useService } from "../shell/service";
import { useKeys } from "../shell/useKeys";

/** Kept, of which so many are shown. */
const MOST = 1000;
const SHOWN = 200;
/** Of what came before the page was opened. */
const BEFORE = 20;
const SHOWN_EVERY_MS = 150;

/** What happens, as it happens: the newest first. */
export function Feed() {
  const channels = useChannels();
  const chosen = useAddress().searchParams.get("channel") ?? "";
  const all = channels?.names;
  const followed = useMemo(() => (chosen === "" ? all : [chosen]), [chosen, all]);
  const [isPaused, setPaused] = useState(false);
  const { events, error } = useMerged(followed, chosen, isPaused);
  const [filter, setFilter] = useState({ type: "", text: "" });
  const paused = useRef(false);
  paused.current = isPaused;
  useKeys((action) => {
    if (action.kind !== "pause") return false;
    setPaused(!paused.current);
    return true;
  });
  const shown = events
    .filter((event) => fits(event, { ...filter, channel: "" }))
    .slice(-SHOWN)
    .reverse();
  return (
    <>
      <header className="title">
        <h1>Live feed</h1>
        <ChannelField
          names={all ?? []}
          chosen={chosen}
          onChoose={(channel) => go(channel === "" ? "/feed" : `/feed?${new URLSearchParams({ channel })}`)}
        />
        {(["text", "type"] as const).map((name) => (
          <input
            key={name}
            type="search"
            data-search={name === "text" ? "" : undefined}
            aria-label={`Filter by ${name}`}
            placeholder={name === "text" ? "with this text  /" : "of this type"}
            value={filter[name]}
            onChange={(event) => setFilter({ ...filter, [name]: event.target.value })}
          />
        ))}
        <button type="button" aria-pressed={isPaused} title="p" onClick={() => setPaused(!isPaused)}>
          {isPaused ? "Go on" : "Pause"}
        </button>
      </header>
      {chosen === "" && channels?.isCut && (
        <p className="soft">
          You can read more projects than are followed here: to follow another, name its channel above.
        </p>
      )}
      <Trouble error={error} />
      {channels === undefined && <p role="status">Loading …</p>}
      {channels !== undefined && shown.length === 0 && (
        <p className="empty">
          {events.length > 0 ? (
            "Nothing of the last events fits."
          ) : (
            <>
              Nothing yet. Make something happen: <code>./dev run -- echo hello</code>
            </>
          )}
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

/**
 * The newest events of these channels; while it is paused, those of before. As long as `of` is the same, what came before
 * others were followed stays.
 */
function useMerged(
  channels: readonly string[] | undefined,
  of: string,
  isPaused: boolean,
): { readonly events: readonly LastseenEvent[]; readonly error: Error | undefined } {
  const { client } = useService();
  const [events, setEvents] = useState<readonly LastseenEvent[]>([]);
  const [error, setError] = useState<Error>();
  const paused = useRef(isPaused);
  paused.current = isPaused;
  // biome-ignore lint/correctness/useExhaustiveDependencies: of something else it begins anew.
  const merged = useMemo(() => new Merged(MOST), [of]);
  useEffect(() => {
    setEvents(merged.events);
    setError(undefined);
    const followed = channels?.map((channel) =>
      client.subscribe(channel, {
        last: BEFORE,
        onEvent: (event) => merged.add(event),
        onEnd: (ended) => ended && setError(ended),
      }),
    );
    const timer = setInterval(() => {
      if (!paused.current) setEvents(merged.events);
    }, SHOWN_EVERY_MS);
    return () => {
      clearInterval(timer);
      for (const one of followed ?? []) one.unsubscribe();
    };
  }, [client, channels, merged]);
  return { events, error };
}
