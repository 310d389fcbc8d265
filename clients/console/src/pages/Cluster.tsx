import { useEffect, useState } from "react";
import { type Answer, endOf } from "../cluster/answer";
import { lagOf } from "../cluster/lags";
import { Nodes, Runners } from "../cluster/Nodes";
import { Plot } from "../cluster/Plot";
import { rate } from "../cluster/rates";
import { Trouble } from "../parts/Trouble";
import { usePolled } from "../shell/service";
import "../cluster/cluster.css";

const EVERY_MS = 2000;
/** Answers that plots are made of: two minutes. */
const KEPT = 61;
/** Answers back to what a lag is compared with. */
const BACK = 5;
const CONSUMERS: readonly (readonly [key: string, name: string, what: string])[] = [
  ["log_writer", "log writer", "copies the log to Postgres, for history"],
  ["projections", "projections", "who may read what"],
  ["tail", "this node's tail", "what clients get live"],
];

/** Nodes and consumers, how far they are, and how much goes through. */
export function Cluster() {
  const { value, error } = usePolled<Answer>("cluster", EVERY_MS);
  const [seen, setSeen] = useState<readonly Answer[]>([]);
  useEffect(() => {
    if (value) setSeen((had) => [...had, value].slice(-KEPT));
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
          <h2>Consumers</h2>
          <ul className="list">
            {CONSUMERS.map(([key, name, what]) => {
              const { kind, text } = lagOf(value.lag[key], seen.at(-BACK)?.lag[key]);
              return (
                <li key={key}>
                  <p>
                    <b>{name}</b> <span className={`lag ${kind}`}>{text}</span>{" "}
                    <span className="soft">{what}</span>
                  </p>
                </li>
              );
            })}
          </ul>
          <div className="plots">
            <Plot name="Events appended" unit=" /s" values={rates(endOf)} />
            <Plot name="Records read here" unit=" /s" values={rates((one) => one.counters.read_records)} />
            <Plot
              name="Connections"
              values={seen.map((one) => one.nodes.reduce((sum, { connections }) => sum + connections, 0))}
            />
            {CONSUMERS.map(([key, name]) => (
              <Plot key={key} name={`Lag of ${name}`} values={seen.map((one) => one.lag[key] ?? null)} />
            ))}
          </div>
          <h2>Nodes</h2>
          <Nodes nodes={value.nodes} now={now} />
          <h2>Runners</h2>
          <Runners runners={value.runners} now={now} />
        </>
      )}
    </>
  );
}
