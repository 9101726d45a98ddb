"use strict";
// Asks the service for the page's content twice a second and puts it in place. The page works without this, by reloading.
const content = document.getElementById("content");
let shown = content.innerHTML;

async function refresh() {
  let answer;
  try {
    answer = await fetch("/page/content", { cache: "no-store", signal: AbortSignal.timeout(3000) });
  } catch {
    document.body.classList.add("stale");
    return;
  }
  if (answer.status === 401) {
    location.reload();
    return;
  }
  document.body.classList.toggle("stale", !answer.ok);
  if (!answer.ok) return;
  const fresh = await answer.text();
  // A button that is being used stays where it is until it is let go.
  if (fresh === shown || content.contains(document.activeElement)) return;
  shown = fresh;
  content.innerHTML = fresh;
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

async function forever() {
  if (!document.hidden) await refresh();
  setTimeout(forever, 500);
}
setTimeout(forever, 500);
