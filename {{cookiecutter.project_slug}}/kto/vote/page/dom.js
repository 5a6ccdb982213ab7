// Make elements.

/** Return an element with properties and children; texts are texts, never HTML. */
export function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return a button that calls `act` when it is tapped. */
export function button(text, act, properties) {
  const made = element("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", act);
  return made;
}

/** Return a `<div>` with HTML that this project's renderer made (kto/rendering.py), which has no scripts or links. */
export function rendered(html, properties) {
  const made = element("div", properties);
  made.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Show one element in the main part and move the focus there, for those who hear the page. */
export function show(...children) {
  const main = byId("main");
  main.textContent = "";
  main.append(...children.filter(Boolean));
  main.scrollTop = 0;
  const heading = main.querySelector("[data-focus]") || main;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}
