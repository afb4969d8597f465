// Usage by groups over time, out of the buckets of the API.

/** What is added up of a result. */
const fields = ["requests", "errors", "input_tokens", "input_cached_tokens", "output_tokens", "estimated_requests", "unpriced_requests"];

/** The sums of nothing. Money is null where nothing is priced. */
const zero = () => ({ ...Object.fromEntries(fields.map((f) => [f, 0])), cost_usd: null });

function add(sum, result) {
	for (const f of fields) sum[f] += result[f];
	if (result.cost_usd !== null) sum.cost_usd = (sum.cost_usd ?? 0) + result.cost_usd;
}

/** The ranges that a view offers, with the width of their buckets. */
export const ranges = {
	"1h": { title: "1 h", width: "1m" },
	"24h": { title: "24 h", width: "1h" },
	"7d": { title: "7 d", width: "1h" },
	"30d": { title: "30 d", width: "1d" },
	"12mo": { title: "12 months", width: "1mo" },
};

/** The query of a range that ends now. Buckets are answered whole. */
export function rangeQuery(range, now = Date.now()) {
	const end = Math.floor(now / 1000) + 1;
	let start = end - { "1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400 }[range];
	if (range === "12mo") {
		const date = new Date(now);
		start = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() - 11, 1) / 1000;
	}
	return { start_time: start, end_time: end, bucket_width: ranges[range].width };
}

/**
 * Adds buckets up by what they are grouped by.
 *
 * @param {{start_time: number, end_time: number, results: Object[]}[]} data
 * @param {string} by a dimension of the API
 * @param {number} most how many groups are distinguished in time; the rest is one
 * @returns {{buckets: Object[], total: Object, groups: Object[], series: Object[]}}
 *   groups: each with its sums, the dearest first; series: of the first ones and
 *   the rest, each with its sums bucket by bucket
 */
export function summarise(data, by, most) {
	const buckets = data.map((b) => ({ start: b.start_time, end: b.end_time }));
	const total = zero();
	const groups = new Map();
	for (const bucket of data) {
		for (const result of bucket.results) {
			const name = result[by] ?? "";
			if (!groups.has(name)) groups.set(name, { name, ...zero() });
			add(groups.get(name), result);
			add(total, result);
		}
	}
	const ranked = [...groups.values()].sort((a, b) =>
		(b.cost_usd ?? 0) - (a.cost_usd ?? 0) || tokens(b) - tokens(a) || b.requests - a.requests || (a.name < b.name ? -1 : 1));
	ranked.forEach((group, i) => { group.rank = i < most ? i : -1; });

	const series = ranked.slice(0, most).map((g) => ({ name: g.name, rank: g.rank }));
	if (ranked.length > most) series.push({ name: null, rank: -1 });
	const place = new Map(ranked.map((g, i) => [g.name, Math.min(i, most)]));
	for (const s of series) s.points = buckets.map(zero);
	data.forEach((bucket, at) => {
		for (const result of bucket.results) add(series[place.get(result[by] ?? "")].points[at], result);
	});
	return { buckets, total, groups: ranked, series };
}

/** All tokens of a sum. */
export const tokens = (sum) => sum.input_tokens + sum.output_tokens;
