// Calls to the voting server (docs: vote/api). Each is a POST with the person's secret; a GET changes nothing, for
// chats open links before people do.

/** The server answered that it will not: `kind` is revoked, closed, full, unknown, old_page, too_many or failed. */
export class Refused extends Error {
  constructor(kind, seconds) {
    super(kind);
    this.kind = kind;
    this.seconds = seconds;
  }
}

/** There was no answer, or one that passes by itself (a proxy's 502, a server that starts): try again later. */
export class Unreachable extends Error {}

const TIMEOUT = 15000; // milliseconds
const PASSING = [408, 425, 429, 500, 502, 503, 504];

export async function call(name, body, secret) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), TIMEOUT);
  let response, answer;
  try {
    response = await fetch("api/" + name, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(secret ? { Authorization: "Bearer " + secret } : {}) },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: controller.signal,
    });
    answer = await response.json();
  } catch (error) {
    throw new Unreachable(String(error));
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return answer;
  if (PASSING.includes(response.status)) throw new Unreachable(String(response.status));
  throw new Refused(answer.kind || "failed");
}
