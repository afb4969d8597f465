// Elements, made without HTML: whatever comes from the gate ends up as text.

/**
 * Makes an element.
 *
 * @param {string} tag
 * @param {Object} [props] attributes; what is false or null is left out, and
 *   `on…` is a listener. No `style`: the page's policy forbids the attribute.
 * @param {...(Node|string|number|Array|null|false)} children
 */
export function h(tag, props = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(props)) {
		if (value === false || value === null || value === undefined) continue;
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...nodes(children));
	return element;
}

/** What `append` and `replaceChildren` take, of lists with holes in them. */
export function nodes(...children) {
	return children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false);
}

/**
 * Makes a table. On a narrow screen each row becomes a card whose cells are
 * labelled by their column; that takes the roles away, so they are said.
 *
 * @param {string} caption for those who don't see what stands around it
 * @param {{title: string, cell: function(Object): *, number?: boolean}[]} columns
 * @param {Object[]} rows
 * @param {string} [kind] a class
 */
export function table(caption, columns, rows, kind = "") {
	const cell = (tag, column, props, content) =>
		h(tag, { class: column.number ? "number" : null, ...props }, h("div", {}, content));
	return h("table", { role: "table", class: kind },
		h("caption", { class: "unseen" }, caption),
		h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
			columns.map((c) => cell("th", c, { scope: "col", role: "columnheader" }, c.title)))),
		h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row" },
			columns.map((c, i) => i === 0
				? cell("th", c, { scope: "row", role: "rowheader", "data-label": c.title }, c.cell(row))
				: cell("td", c, { role: "cell", "data-label": c.title }, c.cell(row)))))));
}

/** A panel that says that there is nothing, and what to do about it. */
export function nothing(title, hint) {
	return h("div", { class: "nothing" }, h("p", { class: "title" }, title), hint && h("p", {}, hint));
}

/** A choice of a few, as radio buttons that look like one control. */
export function segments(legend, name, options, chosen, onchange) {
	return h("fieldset", { class: "segments" },
		h("legend", {}, legend),
		options.map(([value, title]) => h("label", {},
			h("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) }),
			h("span", {}, title))));
}

/**
 * A bar from 0 to 1.
 *
 * @param {number} share what is filled
 * @param {string} label what it means, in words
 * @param {boolean} [warns] whether a full one is bad
 */
export function bar(share, label, warns = true) {
	const filled = Math.min(1, Math.max(0, share));
	const fill = h("span", { class: !warns ? null : filled >= 1 ? "full" : filled >= 0.8 ? "near" : null });
	fill.style.width = `${filled * 100}%`; // through the CSSOM, which the policy allows
	return h("div", {
		class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100,
		"aria-valuenow": Math.round(filled * 100), "aria-valuetext": label, "aria-label": label,
	}, fill);
}

/** A word with a colour: good, bad, warn or none. */
export function badge(text, kind = "") {
	return h("span", { class: `badge ${kind}` }, text);
}

/** A heading of a view with what belongs to its right. */
export function heading(title, ...aside) {
	return h("div", { class: "heading" }, h("h1", {}, title), h("div", { class: "aside" }, aside));
}
