// What is in flight now.

import { ask } from "../api.js";
import { badge, h, heading, nothing, table } from "../dom.js";
import { count, duration, time } from "../format.js";

const most = 200;
const kinds = { waiting: "warn", sent: "", answering: "good" };

export const requests = {
	title: "Requests",
	open(main) {
		const number = h("span", { class: "faint" });
		const list = h("div", {});
		main.append(heading("Live requests", number), list);
		return {
			every: () => 2,
			async load(signal) {
				const { data, total } = await ask("GET", "requests", { query: { limit: most }, signal });
				number.textContent = total > data.length ? `the ${data.length} oldest of ${total}` : `${total} in flight`;
				if (data.length === 0) {
					list.replaceChildren(nothing("No request is in flight.", "This looks again every two seconds. What has ended is under Overview."));
					return;
				}
				list.replaceChildren(h("section", { class: "card wide", "aria-label": "Live requests" }, table("Requests in flight, the oldest first", [
					{ title: "Since", cell: (r) => time(r.started_at) },
					{ title: "For", number: true, cell: (r) => duration(r.seconds) },
					{ title: "State", cell: (r) => badge(r.state, kinds[r.state]) },
					{ title: "Key", cell: (r) => [r.key, r.team && h("span", { class: "faint" }, ` of ${r.team}`)] },
					{ title: "Endpoint", cell: (r) => [r.endpoint, r.stream && h("span", { class: "faint" }, " stream")] },
					{ title: "Model", cell: (r) => r.model },
					{ title: "Backend", cell: (r) => r.backend ?? "–" },
					{ title: "Input", number: true, cell: (r) => count(r.input_tokens) },
					{ title: "Output", number: true, cell: (r) => count(r.output_tokens) },
					{ title: "Id", cell: (r) => h("code", {}, r.id) },
				], data, "requests")));
			},
		};
	},
};
