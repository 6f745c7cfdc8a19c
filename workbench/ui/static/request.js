// Asks our own server. Throws an Error whose message is one line for people, or an AbortError.
import text from "./text.js";

export function address(path, query) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined));
  return new URL(`/api/${path}?${search}`, location.href).href;
}

export async function ask(path, query = {}, signal = undefined, options = {}) {
  let response;
  try {
    response = await fetch(address(path, query), { signal, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(text.connection_lost);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(typeof body.error === "string" ? body.error : text.bad_request);
}

// Changes something on the server: POST with a JSON body, DELETE without one.
export const sendJson = async (method, path, body = undefined) =>
  (await ask(path, {}, undefined, { method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();

export const askJson = async (...args) => (await ask(...args)).json();
