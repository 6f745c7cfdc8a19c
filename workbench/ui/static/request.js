// Asks our own server. Throws an Error whose message is one line for people, or an AbortError.
import text from "./text.js";

export function address(path, query) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined));
  return new URL(`/api/${path}?${search}`, location.href).href;
}

export async function ask(path, query = {}, signal = undefined) {
  let response;
  try {
    response = await fetch(address(path, query), { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(text.connection_lost);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(typeof body.error === "string" ? body.error : text.bad_request);
}

export const askJson = async (...args) => (await ask(...args)).json();
