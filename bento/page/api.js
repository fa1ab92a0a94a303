// The calls to the service, and its refusals in words. It draws nothing.

export class Refused extends Error {}

// Addresses are relative to the page, so that it works behind a proxy under any prefix.
async function call(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service cannot be reached. It may be restarting, or the connection is down.");
  }
  let body = null;
  try {
    body = await reply.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (reply.ok && body !== null) return body;
  throw new Refused(inWords(reply.status, body, reply.headers.get("Retry-After")));
}

export function inWords(status, body, retryAfter) {
  const when = retryAfter ? `Try again in ${retryAfter} s.` : "Try again in a moment.";
  const told = body && typeof body.error === "string" ? body.error : "";
  if (status === 429) return `Too many requests from here. ${when}`;
  if (status === 503) return `The service cannot answer now${told ? `: ${told}` : ""}. ${when}`;
  if (status >= 500) return "The service failed on its side. Its log says why.";
  if (status < 400) return "The service sent an answer that is not to be read.";
  const rules = Array.isArray(body?.detail)
    ? body.detail.map((one) => [one.loc?.join(" "), one.msg].filter(Boolean).join(": "))
    : [];
  return `The service refused the request: ${rules.join("; ") || told || `status ${status}`}.`;
}

export const search = (words, signal) => call(`items?${new URLSearchParams({ query: words, limit: "30" })}`, { signal });

export const model = () => call("model");

export const recommend = (history, excludeSeen, signal) =>
  call("recommend", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ history, exclude_seen: excludeSeen, explain: true }),
    signal,
  });
