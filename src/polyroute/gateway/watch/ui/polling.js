// Figures, asked for again while somebody looks.

import { h } from "./dom.js";

export async function poll({ every, signal, say, ask, draw, place }) {
  let wrong = null;
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        const said = await ask();
        if (signal.aborted) return;
        wrong?.remove();
        wrong = null;
        say("on", "live");
        draw(said);
      } catch (error) {
        if (signal.aborted) return;
        say("off", "not reached");
        wrong?.remove();
        wrong = h("p", { className: "alarm", role: "alert" }, error.message);
        place.prepend(wrong);
        if (error.status === 401 || error.status === 403) return;
      }
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, every);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}
