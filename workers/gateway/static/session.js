// What every page of the gateway's own knows of its session: who is in it, how long it lasts, and when it is over.

const RETRY_MS = 3000;

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
