// Asks our own server. Throws an Error whose message is one line for people, or an AbortError.
import text from "./text.js";

export async function ask(path, query = {}, signal = undefined) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined));
  let response;
  try {
    response = await fetch(`/api/${path}?${search}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(text.connection_lost);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(typeof body.error === "string" ? body.error : text.bad_request);
}

export const askJson = async (...args) => (await ask(...args)).json();
