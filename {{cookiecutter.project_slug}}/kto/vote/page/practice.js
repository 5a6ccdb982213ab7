// Cards whose right vote is known, with the reason after each.

import { element } from "./dom.js";
import { number, t } from "./words.js";
import { question, reply, showCard } from "./card.js";
import { action, heading, show } from "./screen.js";

/**
 * Show examples one after the other. Resolves when all are done, or when the person wants real cards; if there are none
 * to come (`isAll`), the examples are all there is.
 */
export function practise(examples, isAll) {
  return new Promise((resolve) => {
    const step = (index) => {
      const example = examples[index];
      const title = t("practice_heading", { number: number(index + 1), total: number(examples.length) });
      showCard("practice", example, title, (vote) => {
        const isEnd = index + 1 === examples.length;
        const said = t(vote === example.vote ? "practice_same" : "practice_other_" + example.vote);
        show(
          "practice",
          [
            element("section", { className: "verdict " + example.vote }, heading(said),
              element("p", { className: "written", dir: "auto", textContent: example.reason })),
            isEnd && !isAll ? element("p", { className: "done", textContent: t("practice_done") }) : null,
            question(example, title),
            reply(example),
          ],
          isEnd ? [action(isAll ? "next" : "vote_now", resolve)] : [
            action("next", () => step(index + 1)),
            isAll ? null : action("vote_now", resolve, true),
          ],
        );
      });
    };
    step(0);
  });
}
