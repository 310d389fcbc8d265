/** One page that follows one task: `#url=http://HOST:PORT&token=JWT&task=ID`, and `&project=ID` where it has one. */

import { LastseenProvider } from "@lastseen/client/react";
import { type ReactElement, StrictMode, useMemo, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import { Task } from "./task.js";

function onHash(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

function App(): ReactElement {
  const hash = useSyncExternalStore(onHash, () => location.hash);
  const { url, token, task, project } = useMemo(
    () => Object.fromEntries(new URLSearchParams(hash.slice(1))),
    [hash],
  );
  if (!url || !token || !task) return <p>Say what to follow: #url=http://HOST:PORT&token=JWT&task=ID</p>;
  return (
    <LastseenProvider options={{ url, token, projectId: project, reconnectDelay: { base: 250, cap: 1_000 } }}>
      <Task key={task} taskId={task} projectId={project} />
    </LastseenProvider>
  );
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
