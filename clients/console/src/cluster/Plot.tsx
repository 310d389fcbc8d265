/** A small plot of numbers, the newest at the right. */
export function Plot({
  name,
  values,
  unit = "",
}: {
  readonly name: string;
  readonly values: readonly (number | null)[];
  readonly unit?: string;
}) {
  const most = Math.max(1, ...values.map((one) => one ?? 0));
  const path = values
    .map(
      (one, at) =>
        `${at === 0 ? "M" : "L"}${(at * 100) / Math.max(1, values.length - 1)},${39 - ((one ?? 0) * 38) / most}`,
    )
    .join("");
  const last = values.at(-1);
  const text =
    last === undefined ? "…" : last === null ? "not known" : `${Math.round(last * 10) / 10}${unit}`;
  return (
    <div className="plot">
      <span className="soft">{name}</span> <b>{text}</b>
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={`${name}: ${text}`}>
        <path d={path} />
      </svg>
    </div>
  );
}
