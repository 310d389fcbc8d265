import { useEffect, useState } from "react";
import { Plot } from "../cluster/Plot";
import { rate } from "../cluster/rates";
import { Trouble } from "../parts/Trouble";
import { shortTime } from "../parts/time";
import { usePolled } from "../shell/service";

interface Answer {
  readonly at: string;
  readonly node: string;
  readonly epoch: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly nodes: readonly { node: string; connections: number; users: number; answering: boolean }[];
  readonly kafka: { readonly reachable: boolean };
  readonly postgres: { readonly reachable: boolean };
  readonly partitions: readonly { end: number | null }[];
  readonly lag: Readonly<Record<string, number | null>>;
  readonly runners:
    | readonly { incarnation: string; name: string; renewed_at: string; tasks: number }[]
    | null;
}
const LAGS: readonly (readonly [string, string])[] = [
  ["tail", "this node's tail"],
  ["log_writer", "log writer"],
  ["projections", "projections"],
];

/** Nodes and consumers, how far they are, and how much goes through. */
export function Cluster() {
  const { value, error } = usePolled<Answer>("cluster", 2000);
  const [seen, setSeen] = useState<readonly Answer[]>([]);
  useEffect(() => {
    if (value) setSeen((had) => [...had, value].slice(-61));
  }, [value]);
  const rates = (of: (one: Answer) => number | null | undefined) =>
    seen.slice(1).map((one, at) => {
      const before = seen[at];
      return before?.node === one.node
        ? rate(of(before), of(one), Date.parse(one.at) - Date.parse(before.at))
        : null;
    });
  const now = Date.now();
  return (
    <>
      <header className="title">
        <h1>Cluster</h1>
        {value && (
          <span className="soft">
            epoch {value.epoch} · answered by {value.node}
          </span>
        )}
      </header>
      <Trouble error={error} />
      {value && (
        <>
          {!value.kafka.reachable && (
            <p className="problem">Kafka does not answer: nothing can be published until it does.</p>
          )}
          {!value.postgres.reachable && (
            <p className="problem">Postgres does not answer: older history waits for it.</p>
          )}
          <div className="plots">
            <Plot
              name="Events appended"
              unit=" /s"
              values={rates((one) =>
                one.partitions.some(({ end }) => end === null)
                  ? null
                  : one.partitions.reduce((sum, { end }) => sum + (end ?? 0), 0),
              )}
            />
            <Plot name="Records read here" unit=" /s" values={rates((one) => one.counters.read_records)} />
            <Plot
              name="Connections"
              values={seen.map((one) => one.nodes.reduce((sum, { connections }) => sum + connections, 0))}
            />
            {LAGS.map(([key, name]) => (
              <Plot key={key} name={`Lag of ${name}`} values={seen.map((one) => one.lag[key] ?? null)} />
            ))}
          </div>
          <h2>Consumers</h2>
          <ul className="list">
            {LAGS.map(([key, name]) => {
              const lag = value.lag[key];
              return (
                <li key={key}>
                  <p>
                    <b>{name}</b>{" "}
                    <span className={lag ? "state waiting" : "soft"}>
                      {lag == null ? "not known" : lag === 0 ? "does not lag" : `lags by ${lag} events`}
                    </span>
                  </p>
                </li>
              );
            })}
            {value.runners?.map((one) => (
              <li key={one.incarnation}>
                <p>
                  <b>{one.name}</b>{" "}
                  <span className="soft">
                    runs {one.tasks} tasks · seen {shortTime(one.renewed_at, now)}
                  </span>
                </p>
              </li>
            ))}
          </ul>
          <h2>Nodes</h2>
          <ul className="list">
            {value.nodes.map((one) => (
              <li key={one.node}>
                <p>
                  <b>{one.node}</b> {one.answering ? "answers" : "does not answer"}{" "}
                  <span className="soft">
                    {one.connections} connections · {one.users} users
                  </span>
                </p>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}
