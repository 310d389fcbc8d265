/**
 * Positions: how far a subscription has seen the log.
 *
 * A position is an epoch and, per partition, the offset of the *last event seen*: the next one wanted lies at a
 * greater offset, never assumed to be `offset + 1`. `-1` means that nothing of the partition has been seen; a
 * partition left out means earliest: everything held. Offsets of the log stay far below 2^53.
 */

export type Offsets = ReadonlyMap<number, number>;

/** The empty epoch is the word `earliest`, which belongs to no epoch. */
export interface Position {
  readonly epoch: string;
  readonly offsets: Offsets;
}

/** Below every offset: a partition that a position leaves out is wanted from its first event. */
export const NEVER = -2;
export const EARLIEST: Position = { epoch: "", offsets: new Map() };

const TOKEN = /^([a-z0-9]{1,16}):(.*)$/;
const ENTRY = /^(0|[1-9]\d{0,9})=(-1|0|[1-9]\d{0,15})$/;

/** The position that a token means. Throws a TypeError that says what a token looks like. */
export function parsePosition(token: string): Position {
  if (token === "earliest") return EARLIEST;
  const [, epoch, rest] = TOKEN.exec(token) ?? malformed(token);
  const offsets = new Map<number, number>();
  for (const entry of rest ? rest.split(",") : []) {
    const [, partition, offset] = ENTRY.exec(entry) ?? malformed(token);
    if (offsets.has(Number(partition))) malformed(token);
    offsets.set(Number(partition), Number(offset));
  }
  return { epoch: epoch as string, offsets };
}

/** The token that `parsePosition` reads back. */
export function formatPosition({ epoch, offsets }: Position): string {
  if (!epoch) return "earliest";
  const entries = [...offsets].sort(([a], [b]) => a - b).map(([p, o]) => `${p}=${o}`);
  return `${epoch}:${entries.join(",")}`;
}

/** Whether an event at `offset` lies at or below these offsets. */
export function hasSeen(offsets: Offsets, partition: number, offset: number): boolean {
  return offset <= (offsets.get(partition) ?? NEVER);
}

/** Whether everything up to the first of two has been seen at the second. */
export function isBehind(offsets: Offsets, other: Offsets): boolean {
  return [...offsets].every(([partition, offset]) => hasSeen(other, partition, offset));
}

/** The component-wise maximum, of one epoch: nothing that was seen is lost. */
export function raised(offsets: Offsets, other: Offsets): Offsets {
  const merged = new Map(offsets);
  for (const [partition, offset] of other)
    if (!hasSeen(offsets, partition, offset)) merged.set(partition, offset);
  return merged;
}

/** The component-wise minimum, of one epoch: what both have seen. */
export function lowered(offsets: Offsets, other: Offsets): Offsets {
  const common = new Map<number, number>();
  for (const [partition, offset] of offsets) {
    const another = other.get(partition);
    if (another !== undefined) common.set(partition, Math.min(offset, another));
  }
  return common;
}

/** From where all of these, at least one, can go on at once, while the server is in this epoch. */
export function smallestOf(positions: readonly Position[], present: string): Position {
  // Where some have crossed into a new epoch and some have not, only the old token brings the gap.
  const { epoch } = positions.find((one) => one.epoch !== present) ?? (positions[0] as Position);
  const same = positions.filter((one) => one.epoch === epoch);
  return { epoch, offsets: same.map(({ offsets }) => offsets).reduce(lowered) };
}

function malformed(token: string): never {
  throw new TypeError(
    `"${String(token).slice(0, 200)}" is no position: use a token that the server gave, such as "k3f9:0=1523,7=88", or "earliest"`,
  );
}
