/** Who is there. */

import { useMemo, useSyncExternalStore } from "react";
import type { Presence, PresenceOptions } from "../stores/presence.js";
import { useStores } from "./context.js";

export interface PresenceHook extends Presence {
  /** Ask now. */
  readonly refresh: () => void;
}

/** The users who have a connection, on any node, that is subscribed to a channel; it does not subscribe it. */
export function usePresence(channel: string | undefined, options: PresenceOptions = {}): PresenceHook {
  const stores = useStores();
  const key = JSON.stringify(options);
  const store = useMemo(
    () => stores.presence(channel, JSON.parse(key) as PresenceOptions),
    [stores, channel, key],
  );
  const presence = useSyncExternalStore(store.subscribe, store.get, store.get);
  return { ...presence, refresh: store.refresh };
}
