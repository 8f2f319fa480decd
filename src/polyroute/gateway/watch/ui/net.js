// What is asked of the server, with the key of this tab, and server-sent events as they come.

const PLACE = "polyroute.key";
const root = new URL("..", document.baseURI);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let asking = null;

function askForKey(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("asks");
    const field = document.getElementById("key");
    if (why) document.getElementById("asks-why").textContent = why;
    field.value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (field.value) sessionStorage.setItem(PLACE, field.value.trim());
      resolve(Boolean(field.value));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function open(path, options = {}) {
  const send = () => {
    const key = sessionStorage.getItem(PLACE);
    const headers = { ...(options.headers ?? {}), ...(key ? { authorization: `Bearer ${key}` } : {}) };
    return fetch(new URL(path, root), { ...options, headers });
  };
  let response = await send();
  while (response.status === 401 || (response.status === 403 && options.admin !== false)) {
    const said = await message(response);
    if (!(await askForKey(response.status === 403 ? said : null))) throw new Refused(response.status, said);
    response = await send();
  }
  if (!response.ok) throw new Refused(response.status, await message(response));
  return response;
}

async function message(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered with status ${response.status}`;
  }
}

export const get = async (path, signal) => (await open(path, { signal })).json();

export async function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return open(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
        if (data === "[DONE]") return;
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
