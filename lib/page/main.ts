/** The dashboard's page: shows what the daemon says, until it is drawn. */

const place = document.querySelector("main");

/** Shows the daemon's name and state, or why it cannot be asked. */
async function show(): Promise<void> {
  if (place === null) return;
  const answer = await fetch("/v1/status");
  place.textContent = JSON.stringify(await answer.json(), null, 2);
}

await show();
