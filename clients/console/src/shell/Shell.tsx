import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Cluster } from "../pages/Cluster";
import { Feed } from "../pages/Feed";
import { History } from "../pages/History";
import { Project } from "../pages/Project";
import { Projects } from "../pages/Projects";
import { Quarantine } from "../pages/Quarantine";
import { Tasks } from "../pages/Tasks";
import { Link } from "../parts/Link";
import { Mark } from "../parts/Mark";
import { Keys } from "./Keys";
import { type Action, PAGES } from "./keys";
import { go, type Place, placeOf, useAddress } from "./route";
import { useConnection, useService } from "./service";
import { applyTheme, keptTheme, nextTheme, type Theme } from "./theme";
import { useKeys } from "./useKeys";

// What shows terminals is loaded when one is opened.
const Task = lazy(() => import("../pages/Task"));

/** The frame around every page. */
export function Shell({ onSignOut }: { readonly onSignOut: () => void }) {
  const address = useAddress();
  const place = placeOf(address.pathname);
  const [theme, setTheme] = useState<Theme>(keptTheme);
  const [showsKeys, setShowsKeys] = useState(false);
  const main = useRef<HTMLElement>(null);
  const { user, isAdmin } = useService();

  const turn = (): void => {
    const next = nextTheme(theme);
    applyTheme(next);
    setTheme(next);
  };

  useKeys((action: Action) => {
    switch (action.kind) {
      case "go":
        go(action.path);
        return true;
      case "help":
        setShowsKeys(!showsKeys);
        return true;
      case "theme":
        turn();
        return true;
      case "escape":
        setShowsKeys(false);
        return true;
      case "search": {
        const field = document.querySelector<HTMLInputElement>("[data-search]");
        field?.focus();
        field?.select();
        return true;
      }
      case "move":
        return moveFocus(main.current, action.by);
      default:
        return false;
    }
  });

  const { pathname } = address;
  const shown = useRef(pathname);
  useEffect(() => {
    if (shown.current === pathname) return;
    shown.current = pathname;
    scrollTo(0, 0);
    // The row that led here is gone: who goes on by keys does so from the page's beginning.
    if (document.activeElement === document.body) main.current?.focus({ preventScroll: true });
  }, [pathname]);

  const title = titleOf(place);
  useEffect(() => {
    document.title = `${title} · Lastseen`;
  }, [title]);

  return (
    <div className="shell">
      <a className="skip" href="#main">
        To the content
      </a>
      <header className="top">
        <Link to="/tasks" className="brand">
          <Mark /> <span>Lastseen</span>
        </Link>
        <nav aria-label="Pages">
          {Object.values(PAGES).map(({ path, name }) =>
            !isAdmin && (path === "/cluster" || path === "/quarantine") ? null : (
              <Link key={path} to={path} isCurrent={address.pathname.startsWith(path)}>
                {name}
              </Link>
            ),
          )}
        </nav>
        <div className="who">
          <Connection />
          <button
            type="button"
            className="quiet"
            onClick={turn}
            aria-label={`Colours: ${THEME_NAMES[theme]}`}
            title="Light, dark, or as the system (d)"
          >
            ◐ <span className="wide">{THEME_NAMES[theme]}</span>
          </button>
          <button
            type="button"
            className="quiet key"
            onClick={() => setShowsKeys(true)}
            aria-label="Keys"
            title="Keys (?)"
          >
            ?
          </button>
          <span className="wide soft" title="Signed in">
            {user}
          </span>
          <button type="button" className="quiet" onClick={onSignOut} title={`Signed in as ${user}`}>
            Sign out
          </button>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Suspense fallback={<p role="status">Loading …</p>}>
          <Page place={place} />
        </Suspense>
      </main>
      {showsKeys && <Keys onClose={() => setShowsKeys(false)} />}
    </div>
  );
}

const THEME_NAMES: { readonly [T in Theme]: string } = { system: "Auto", light: "Light", dark: "Dark" };

function Page({ place }: { readonly place: Place }) {
  switch (place.page) {
    case "tasks":
      return <Tasks />;
    case "task":
      return <Task key={place.id} id={place.id} />;
    case "feed":
      return <Feed />;
    case "history":
      return <History />;
    case "projects":
      return <Projects />;
    case "project":
      return <Project key={place.id} id={place.id} />;
    case "cluster":
      return <Cluster />;
    case "quarantine":
      return <Quarantine />;
    case "unknown":
      return (
        <p className="empty">
          There is no such page. <Link to="/tasks">To the tasks</Link>
        </p>
      );
  }
}

function titleOf(place: Place): string {
  switch (place.page) {
    case "task":
    case "project":
      return place.id;
    case "unknown":
      return "Not found";
    default:
      return Object.values(PAGES).find(({ path }) => path === `/${place.page}`)?.name ?? "";
  }
}

/** Whether pages follow the log now. */
function Connection() {
  const { state, error } = useConnection();
  const text =
    {
      idle: "not connected",
      connecting: "connecting",
      connected: "live",
      reconnecting: "reconnecting",
      failed: "not connected",
    }[state] ?? state;
  return (
    <span className={`connection ${state}`} role="status" title={error?.message}>
      <span className="dot" aria-hidden="true" /> {text}
    </span>
  );
}

/** The focus goes to the next or previous row of the page. */
function moveFocus(main: HTMLElement | null, by: 1 | -1): boolean {
  const rows = [...(main?.querySelectorAll<HTMLElement>("[data-row]") ?? [])];
  if (rows.length === 0) return false;
  const at = rows.indexOf(document.activeElement?.closest<HTMLElement>("[data-row]") ?? document.body);
  const next = rows[at === -1 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1)];
  next?.focus();
  return true;
}
