/** The nodes of the cluster by their names: one that was started again under its name is the same row. */

export interface NodeSaid {
  readonly node: string;
  /** Orders by the time at which a process joined. */
  readonly incarnation: string;
  readonly connections: number;
  readonly users: number;
  readonly answering: boolean;
  /** When it is given up unless it is heard of before, RFC 3339; null for the one that answers us. */
  readonly lease_until: string | null;
}

export interface NodeRow extends NodeSaid {
  /** Processes that had the name before and have not said goodbye, the newest first. */
  readonly former: readonly NodeSaid[];
}

export function nodeRows(nodes: readonly NodeSaid[]): readonly NodeRow[] {
  const byName = new Map<string, NodeSaid[]>();
  for (const one of nodes) byName.set(one.node, [...(byName.get(one.node) ?? []), one]);
  return [...byName.values()]
    .flatMap((of) => {
      const [newest, ...former] = of.sort((a, b) => (a.incarnation < b.incarnation ? 1 : -1));
      return newest ? [{ ...newest, former }] : [];
    })
    .sort((a, b) => (a.node < b.node ? -1 : 1));
}
