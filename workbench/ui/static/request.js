// Asks our own server. Throws an Error whose message is one line for people, or an AbortError.
import text from "./text.js";

const AGAIN_MS = [250, 1000];

export function address(path, query) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined));
  return new URL(`/api/${path}?${search}`, location.href).href;
}

export async function ask(path, query = {}, signal = undefined, options = {}) {
  const request = () => fetched(address(path, query), { signal, ...options });
  let response;
  try {
    response = await (options.method === "POST" ? request() : persistently(request)); // what came twice would begin twice
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(text.connection_lost);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(typeof body.error === "string" ? body.error : text.bad_request);
}

// A browser whose computer joins another network ends what is under way, even between two programs of one computer.
// `fetch` and `import` then fail with a TypeError.
export async function persistently(work) {
  for (const wait of AGAIN_MS) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return work();
}

// With its whole body: a connection that ends midway ends here.
async function fetched(url, options) {
  const response = await fetch(url, options);
  return new Response(await response.blob(), response);
}

// Changes something on the server: POST with a JSON body, DELETE without one.
export const sendJson = async (method, path, body = undefined) =>
  (await ask(path, {}, undefined, { method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();

export const askJson = async (...args) => (await ask(...args)).json();
