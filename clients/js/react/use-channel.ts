/** The events of a channel. */

import { useMemo, useSyncExternalStore } from "react";
import type { ChannelOptions, ChannelState } from "../stores/channel.js";
import { useStores } from "./context.js";

/**
 * Follow a channel while the component is mounted: its events in their order, each once, the newest `limit` of them.
 * Without a start it begins now. Another channel, or other options, begin anew; without a channel nothing is followed.
 */
export function useChannel(channel: string | undefined, options: ChannelOptions = {}): ChannelState {
  const stores = useStores();
  const key = JSON.stringify(options);
  const store = useMemo(
    () => stores.channel(channel, JSON.parse(key) as ChannelOptions),
    [stores, channel, key],
  );
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}
