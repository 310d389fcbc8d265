import type { NodeSaid } from "./nodes";

/** What `GET /api/v1/cluster` says, as far as it is shown. */
export interface Answer {
  readonly at: string;
  readonly node: string;
  readonly epoch: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly nodes: readonly NodeSaid[];
  readonly kafka: { readonly reachable: boolean };
  readonly postgres: { readonly reachable: boolean };
  readonly partitions: readonly { readonly end: number | null }[];
  readonly lag: Readonly<Record<string, number | null>>;
  readonly runners: readonly RunnerSaid[] | null;
}

export interface RunnerSaid {
  readonly incarnation: string;
  readonly name: string;
  readonly renewed_at: string;
  readonly tasks: number;
}

/** Where the log ends: how many events there ever were. Null where somebody does not know. */
export function endOf({ partitions }: Answer): number | null {
  return partitions.some(({ end }) => end === null)
    ? null
    : partitions.reduce((sum, { end }) => sum + (end ?? 0), 0);
}
