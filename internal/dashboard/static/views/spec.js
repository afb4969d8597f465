// The forms of keys and teams: what is typed, as the API has it.

import { field, tick } from "../dialog.js";
import { h } from "../dom.js";

export const idPattern = "[A-Za-z0-9._\\-]{1,64}";
const idHint = "Letters, digits, dots, underscores and dashes. It can't be changed later.";

const endpoints = ["chat", "completions", "responses", "embeddings", "messages", "images", "audio", "moderations", "rerank"];

const lines = (text) => text.split("\n").map((l) => l.trim()).filter(Boolean);
const words = (text) => text.split(/[\s,]+/).filter(Boolean);

/** The field of a new id. */
export const idField = () => field("id", "Id", { hint: idHint, required: true, pattern: idPattern, title: idHint });

const modelsField = (spec) => field("models", "Models", { value: (spec.models ?? []).join(" "), hint: "Patterns, as in gpt-4o claude-*. Empty: every model. none: none." });
const limitsField = (spec, whose) => field("limits", "Limits", {
	lines: 3, value: (spec.limits ?? []).join("\n"), placeholder: "60 requests/minute burst 10\n25 usd/month",
	hint: `One a line. Empty: ${whose}.`,
});

/** The fields of a key. */
export function keyFields(spec, teams) {
	const list = h("datalist", { id: "teams" }, teams.map((t) => h("option", { value: t })));
	return [
		h("div", { class: "pair" },
			field("team", "Team", { value: spec.team ?? "", list: "teams", hint: "Whose limits it shares. Empty: none." }), list,
			field("expires", "Expires", { value: spec.expires ?? "", placeholder: "2027-12-31", hint: "The last day in UTC, or an RFC 3339 time. Empty: never." })),
		limitsField(spec, "those that the gate gives each key"),
		modelsField(spec),
		h("details", { open: Boolean(spec.endpoints || spec.allow_ip) },
			h("summary", {}, "Endpoints and addresses"),
			h("fieldset", { class: "ticks" }, h("legend", {}, "Endpoints; none ticked: all"),
				endpoints.map((e) => h("label", { class: "tick" }, h("input", { type: "checkbox", name: "endpoints", value: e, checked: spec.endpoints?.includes(e) }), e))),
			field("allow_ip", "Addresses", { value: (spec.allow_ip ?? []).join(" "), hint: "Where it works from, as in 10.0.0.0/8 192.0.2.7. Empty: anywhere." })),
		tick("disabled", "Disabled: refused, but not forgotten", Boolean(spec.disabled)),
	];
}

/** What is said of a key in its form; null is the default. */
export function keySpec(form) {
	const list = (values) => (values.length > 0 ? values : null);
	return {
		team: form.get("team").trim() || null,
		expires: form.get("expires").trim() || null,
		limits: list(lines(form.get("limits"))),
		models: list(words(form.get("models"))),
		endpoints: list(form.getAll("endpoints")),
		allow_ip: list(words(form.get("allow_ip"))),
		disabled: form.has("disabled") || null,
	};
}

/** The fields of a team. */
export const teamFields = (spec) => [limitsField(spec, "none; all keys of the team share them"), modelsField(spec)];

/** What is said of a team in its form. */
export function teamSpec(form) {
	const { limits, models } = { limits: lines(form.get("limits")), models: words(form.get("models")) };
	return { limits: limits.length > 0 ? limits : null, models: models.length > 0 ? models : null };
}

/** A spec without its defaults, as a new thing is made of. */
export const given = (spec) => Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null));
