// What every page of the gateway's own knows of its session: who is in it, how long it lasts, and when it is over.

const RETRY_MS = 3000;
// Seconds before the end.
const WARN_S = [600, 120];
const LOOK_MS = 5000;

// Calls `show` with what the box tells of the session, now and whenever somebody comes or goes.
export async function follow(show) {
  let version = null;
  for (;;) {
    try {
      const since = version === null ? "" : `?since=${version}`;
      const answer = await fetch(`/_openraas/session${since}`, { cache: "no-store" });
      if (!answer.ok) {
        location.reload(); // the box says on a page of its own why it ended
        return;
      }
      const session = await answer.json();
      version = session.version;
      show(session);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

// Calls `warn(minutes)` when the end comes near, again when it is nearer, and `warn(null)` once it was put off;
// `read` gives the session as it is now.
export function watchEnd(read, warn) {
  let warned = Infinity;
  const look = () => {
    const left = read().ends_at - Date.now() / 1000;
    const mark = WARN_S.filter((seconds) => left <= seconds).pop() ?? Infinity;
    if (mark < warned && left > 0) warn(Math.max(1, Math.round(left / 60)));
    if (mark > warned) warn(null);
    warned = mark;
  };
  setInterval(look, LOOK_MS);
  look();
}

// The session's page in the portal, and what is done there; none for guests.
export function portalPage(session) {
  const { portal, deployment, guest } = session;
  if (!portal || !deployment || guest) return null;
  const page = `${portal}/deployments/${deployment}`;
  return { page, share: `${page}/share`, stop: `${page}#stop`, lease: `${page}#lease` };
}

// Who is here besides oneself, in a few words.
export function describe(session) {
  const others = session.people.filter((person) => !person.you);
  const names = others.map((person) => {
    const name = person.name || "somebody";
    return person.mode === "watch" ? `${name} (watching)` : name;
  });
  const you = session.mode === "watch" ? ["You are watching"] : [];
  return [...you, ...(names.length ? [`Also here: ${names.join(", ")}`] : [])].join(". ");
}

// Light or dark: as chosen on this origin, else as the system has it.
export function theme(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
  const dark = choice ? choice === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return dark ? "dark" : "light";
}
