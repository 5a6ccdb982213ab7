// Make elements.

/** Return an element with properties and children; texts are texts, never HTML. */
export function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

/** Return a button that calls `act` when it is tapped. */
export function button(text, act, properties) {
  const made = element("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", act);
  return made;
}

const TAGS = "P BR HR STRONG EM UL OL LI BLOCKQUOTE PRE CODE SMALL DIV TABLE THEAD TBODY TR TH TD".split(" ");
const SAFE = /^(https?|mailto):/i;

/**
 * Return a `<div>` with HTML that this project's renderer made (kto/rendering.py). It is copied tag by tag, so that
 * whatever else should be in it is text. Headings become those of one level, for the page has its own outline.
 */
export function rendered(html, properties, level) {
  const made = element("div", properties);
  copy(new DOMParser().parseFromString(html, "text/html").body, made, level || 3);
  return made;
}

function copy(from, to, level) {
  for (const node of from.childNodes) {
    const tag = node.nodeName;
    let made = to;
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    else if (tag === "A" && SAFE.test(node.href)) made = element("a", { href: node.href, target: "_blank", rel: "noopener noreferrer" });
    else if (/^H[1-6]$/.test(tag)) made = element("h" + level, { className: tag.toLowerCase() });
    else if (TAGS.includes(tag)) made = element(tag, node.hasAttribute("dir") ? { dir: node.getAttribute("dir") } : {});
    else if (node.nodeType !== Node.ELEMENT_NODE) continue;
    if (tag === "LI" && node.hasAttribute("value")) made.value = node.value;
    if (made !== to) to.append(tag === "TABLE" ? element("div", { className: "wide", tabIndex: 0 }, made) : made);
    copy(node, made, level);
  }
}

export function byId(id) {
  return document.getElementById(id);
}
