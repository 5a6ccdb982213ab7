// Calls to the voting server (docs/votes.md). Each is a POST with the secret of this device; a GET changes nothing, for
// chats open links before people do.

/** The server says no: `kind` is unknown, revoked, closed, full, withdrawn, old_page, or that of a fault of ours. */
export class Refused extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

/** No answer, or one that passes by itself: try again, after `seconds` if the server says so. */
export class Unreachable extends Error {
  constructor(kind, seconds) {
    super(kind);
    this.kind = kind; // "starting", "too_many", or "" if there is nobody
    this.seconds = seconds;
  }
}

const TIMEOUT = 15000; // milliseconds
const PASSING = [408, 425, 429, 500, 502, 503, 504];

export async function call(name, body, secret) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), TIMEOUT);
  const headers = { "Content-Type": "application/json" };
  if (secret) headers.Authorization = "Bearer " + secret;
  let response, answer;
  try {
    response = await fetch("api/" + name, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: controller.signal,
    });
    answer = await response.json().catch((error) => {
      if (response.ok) throw error; // a network's own log-in page, for example
      return {};
    });
  } catch (error) {
    throw new Unreachable("");
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return answer;
  if (!PASSING.includes(response.status)) throw new Refused(answer.kind || "failed");
  const kinds = { 429: "too_many", 503: answer.kind ? "starting" : "" };
  throw new Unreachable(kinds[response.status] || "", answer.seconds);
}
