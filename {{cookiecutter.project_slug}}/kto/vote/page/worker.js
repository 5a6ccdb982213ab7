// The service worker: where the browser allows one (https, localhost), the page opens without a network.
// Files come from the network first, so that a newer server's page is never hidden by an old copy; calls of the API
// and all POSTs pass by.

const CACHE = "kto-page";

self.addEventListener("install", (event) => {
  const files = ["./", "page.css", "app.js", "api.js", "card.js", "cards.js", "dom.js", "outbox.js", "practice.js", "storage.js",
    "words.js", "words.json"];
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || url.pathname.includes("/api/")) return;
  event.respondWith(
    fetch(event.request)
      .then((response) => {
        if (response.ok) {
          const copy = response.clone();
          event.waitUntil(caches.open(CACHE).then((cache) => cache.put(event.request, copy)));
        }
        return response;
      })
      .catch(() => caches.match(event.request, { ignoreSearch: true }).then((kept) => kept || Response.error())),
  );
});
