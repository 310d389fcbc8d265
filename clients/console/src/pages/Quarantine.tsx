import { useState } from "react";
import { back, FIRST, onward, pathOf } from "../parts/paging";
import { Trouble } from "../parts/Trouble";
import { shortTime } from "../parts/time";
import { usePolled } from "../shell/service";

interface Answer {
  readonly records: readonly {
    epoch: number;
    partition: number;
    offset: number;
    at: string;
    reason: string;
    detail: string;
    channels: string[];
    key: string | null;
    value: string | null;
    value_bytes: number;
  }[];
  readonly next: string | null;
}

/** Records that no reader can use. */
export function Quarantine() {
  const [trail, setTrail] = useState(FIRST);
  const { value, error } = usePolled<Answer>(pathOf("quarantine", "before", trail), 10_000);
  return (
    <>
      <header className="title">
        <h1>Quarantine</h1>
        <span className="soft">records that no reader can use (dead letters)</span>
      </header>
      <Trouble error={error} />
      {value?.records.length === 0 && (
        <p className="empty">Nothing is in quarantine: every record could be read.</p>
      )}
      <ul className="list">
        {value?.records.map((one) => (
          <li key={`${one.epoch}-${one.partition}-${one.offset}`}>
            <details>
              <summary data-row="">
                <time className="soft">{shortTime(one.at, Date.now())}</time> <b>{one.reason}</b> {one.detail}{" "}
                <span className="soft">
                  partition {one.partition}, offset {one.offset} · {one.channels.join(", ")}
                </span>
              </summary>
              <pre>{one.value ?? "no value"}</pre>
              <p className="soft">
                {one.value_bytes} bytes, key {one.key ?? "none"}
              </p>
            </details>
          </li>
        ))}
      </ul>
      {(trail.length > 0 || value?.next) && (
        <div className="line">
          <button type="button" disabled={trail.length === 0} onClick={() => setTrail(back(trail))}>
            Newer
          </button>
          <button type="button" disabled={!value?.next} onClick={() => setTrail(onward(trail, value?.next))}>
            Older
          </button>
        </div>
      )}
    </>
  );
}
