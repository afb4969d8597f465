// Dialogs: forms, confirmations, and secrets that are shown once.

import { h, nodes } from "./dom.js";

let numbers = 0;

/**
 * A field of a form.
 *
 * @param {string} name in the values of the form
 * @param {string} title
 * @param {Object} [how] `hint`; `lines` for a field of several lines; else
 *   attributes of the input
 */
export function field(name, title, { hint, lines, value = "", ...attributes } = {}) {
	const id = `field-${++numbers}`;
	const described = hint ? { "aria-describedby": `${id}-hint` } : {};
	const plain = { id, name, autocapitalize: "off", autocomplete: "off", spellcheck: "false", ...described, ...attributes };
	const input = lines ? h("textarea", { rows: lines, ...plain }) : h("input", plain);
	input.value = value;
	return h("div", { class: "field" }, h("label", { for: id }, title), input, hint && h("p", { class: "hint", id: `${id}-hint` }, hint));
}

/** A box to tick in a form. */
export function tick(name, title, checked) {
	return h("div", { class: "field" }, h("label", { class: "tick" }, h("input", { type: "checkbox", name, checked }), title));
}

/**
 * Shows a form until it is sent or given up.
 *
 * @param {string} title
 * @param {Node[]} fields
 * @param {{action: string, danger?: boolean, send: function(FormData): Promise}} how
 *   send: what it throws is shown, and the form stays
 * @returns {Promise<*>} what `send` returned; undefined where it was given up
 */
export function formDialog(title, fields, { action, danger = false, send }) {
	return show(title, (dialog, settle) => {
		const error = h("p", { class: "error", role: "alert" });
		const submit = h("button", { class: danger ? "danger" : "primary" }, action);
		const cancel = h("button", { type: "button", onclick: () => dialog.close(), autofocus: danger }, "Cancel");
		return h("form", {
			onsubmit: async (event) => {
				event.preventDefault();
				error.replaceChildren();
				submit.disabled = true;
				try {
					settle(await send(new FormData(event.target)) ?? true);
					dialog.close();
				} catch (problem) {
					error.replaceChildren(problem.message, problem.hint ? ` ${problem.hint}` : "");
				} finally {
					submit.disabled = false;
				}
			},
		}, fields, error, h("div", { class: "actions" }, cancel, submit));
	});
}

/** Shows a secret, this once. */
export function secretDialog(title, secret) {
	return show(title, (dialog) => {
		const shown = h("input", { readonly: true, class: "secret", "aria-label": "Secret", autocomplete: "off", onfocus: () => shown.select() });
		shown.value = secret;
		const said = h("p", { class: "hint", role: "status" });
		const copy = async () => {
			try {
				await navigator.clipboard.writeText(secret);
				said.textContent = "Copied.";
			} catch { // no right to, or no HTTPS
				shown.focus();
				shown.select();
				said.textContent = "This browser does not let the page copy: it is selected, so copy it by hand.";
			}
		};
		// Escape would lose it.
		dialog.addEventListener("cancel", (event) => event.preventDefault());
		return h("div", {},
			h("p", {}, "This is the only time that the secret is shown. Hand it over, or keep it where secrets are kept: the gate has only its hash."),
			h("div", { class: "copying" }, shown, h("button", { type: "button", class: "primary", onclick: copy }, "Copy")),
			said,
			h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "I have it")));
	});
}

/** Closes the forms that are open: what they are about is no more in view. */
export function closeForms() {
	for (const dialog of document.querySelectorAll("dialog:has(form)")) dialog.close();
}

/** Closes all, secrets too: for somebody who logs out. */
export function closeDialogs() {
	for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

function show(title, content) {
	return new Promise((resolve) => {
		const id = `dialog-${++numbers}`;
		let result;
		const dialog = h("dialog", {
			"aria-labelledby": id,
			onclose: () => {
				dialog.remove(); // and with it whatever secret stands in it
				resolve(result);
			},
		});
		dialog.append(h("h2", { id }, title), ...nodes(content(dialog, (value) => { result = value; })));
		document.body.append(dialog);
		dialog.showModal();
	});
}
