import { Rows } from "../parts/Rows";
import type { Lines } from "./lines";

/** The output of plain streams. */
export function Output({
  lines: { lines, open, dropped },
  isOver,
}: {
  readonly lines: Lines;
  readonly isOver: boolean;
}) {
  const count = lines.length + open.length;
  if (count === 0)
    return <p className="empty">{isOver ? "It wrote nothing." : "It has written nothing yet."}</p>;
  return (
    <>
      {dropped > 0 && (
        <p className="soft">{dropped.toLocaleString()} lines before these are not kept here.</p>
      )}
      <Rows
        count={count}
        dropped={dropped}
        label="Output"
        row={(at) => {
          const line = lines[at] ?? open[at - lines.length];
          return <span className={line?.stream}>{line?.text}</span>;
        }}
      />
    </>
  );
}
