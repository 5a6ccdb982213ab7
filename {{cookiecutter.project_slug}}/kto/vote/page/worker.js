// The service worker: where the browser allows one (https, this machine), the page opens without a network.
//
// Everything comes from the network first, so that an old copy never hides a newer page. The copies are of one version
// together: a cache is filled as a whole, and then the older ones go. Calls of the API are never kept.

const PREFIX = "kto-";
const PATIENCE = 4000; // milliseconds for the network before a copy is taken
const FILES = [
  "./", "manifest.json", "icon.svg", "icon.png", "page.css", "words.json", "api.js", "app.js", "card.js", "deck.js", "dom.js",
  "ids.js", "last.js", "letters.js", "lock.js", "menu.js", "outbox.js", "practice.js", "screen.js", "share.js", "storage.js",
  "sync.js", "voting.js", "words.js",
];

/** Keep the page as the server has it now, unless that version is kept already; then drop all others. */
async function fill() {
  const name = await version(await fetch("words.json", { cache: "no-cache" }));
  if (!(await caches.has(name))) {
    const cache = await caches.open(name);
    await cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" }))).catch(() => {});
    const words = await cache.match("words.json");
    // The network may have failed, or the server may have changed in between; the next page tries again.
    if (!words || (await version(words)) !== name) return caches.delete(name);
  }
  const others = (await caches.keys()).filter((other) => other.startsWith(PREFIX) && other !== name);
  return Promise.all(others.map((other) => caches.delete(other)));
}

async function version(words) {
  return PREFIX + (await words.json()).version;
}

self.addEventListener("install", (event) => event.waitUntil(fill().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("message", (event) => event.waitUntil(fill().catch(() => {})));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method !== "GET" || !url.startsWith(self.registration.scope) || url.includes("/api/")) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const network = fetch(request);
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  const first = await Promise.race([network, patience]).catch(() => null);
  if (first && first.status < 500) return first;
  return (await caches.match(request, { ignoreSearch: true, ignoreVary: true })) || first || network;
}
