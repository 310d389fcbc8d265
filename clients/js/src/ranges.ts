/** What was had of one partition, as ranges `(from, to]` of offsets: few, ascending, never touching. */

export type Ranges = readonly (readonly [from: number, to: number])[];

/** With one more range; those that it touches become one with it. */
export function withRange(ranges: Ranges, from: number, to: number): Ranges {
  const last = ranges[ranges.length - 1];
  if (last && last[0] <= from && from <= last[1]) {
    return to <= last[1] ? ranges : [...ranges.slice(0, -1), [last[0], to]];
  }
  const apart = ranges.filter(([a, b]) => b < from || a > to);
  const joined = ranges.filter(([a, b]) => b >= from && a <= to);
  const low = Math.min(from, ...joined.map(([a]) => a));
  const high = Math.max(to, ...joined.map(([, b]) => b));
  return [...apart, [low, high] as const].sort(([a], [b]) => a - b);
}

export function includes(ranges: Ranges | undefined, offset: number): boolean {
  return ranges?.some(([from, to]) => from < offset && offset <= to) ?? false;
}
