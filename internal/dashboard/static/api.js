// The gate's control API, asked with the admin key.

// The key is held here and nowhere else: not in a cookie, so that no other site
// can use it; not in sessionStorage either, which browsers write to the disk.
let adminKey = null;

// Relative to this file, so that the page works behind a proxy's path, too.
const base = new URL("../pinegate/", import.meta.url);

// The gate answers at once; a page of usage over many keys takes some seconds.
const patience = 30e3;

/** What went wrong, and what to do about it. */
export class Problem extends Error {
	/**
	 * @param {number} status of the answer; 0: there was none
	 * @param {string} message what is wrong
	 * @param {string} [hint] what to do
	 */
	constructor(status, message, hint = "") {
		super(message);
		this.status = status;
		this.hint = hint;
	}
}

export const setKey = (key) => { adminKey = key; };
export const hasKey = () => adminKey !== null;

/**
 * Asks the API.
 *
 * @param {string} method
 * @param {string} path below /pinegate/, each part of it encoded
 * @param {{query?: Object, body?: Object, version?: number, signal?: AbortSignal}} [options]
 *   query: what is null or empty is left out; version: what the change is bound to
 * @returns {Promise<Object|null>} the answer; null where it has no body
 * @throws {Problem} or an AbortError, when the signal was given
 */
export async function ask(method, path, { query = {}, body, version, signal } = {}) {
	const url = new URL(path, base);
	for (const [name, value] of Object.entries(query)) {
		for (const one of [value].flat()) {
			if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
		}
	}
	const headers = { Authorization: `Bearer ${adminKey}`, Accept: "application/json" };
	if (body !== undefined) headers["Content-Type"] = "application/json";
	if (version) headers["If-Match"] = `"${version}"`;

	let response, text;
	try {
		const signals = [AbortSignal.timeout(patience), ...(signal ? [signal] : [])];
		response = await fetch(url, {
			method, headers, signal: AbortSignal.any(signals),
			body: body === undefined ? undefined : JSON.stringify(body),
			cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
		});
		text = await response.text();
	} catch (error) {
		if (signal?.aborted) throw error;
		throw new Problem(0, "The gate does not answer.", "This page tries again by itself. If it stays away, look whether Caddy runs, and at its log.");
	}
	if (response.ok && text === "") return null;
	let answer;
	try {
		answer = JSON.parse(text);
	} catch {
		throw new Problem(response.status, "The answer is not the gate's.", "Something between this page and the gate answers in its place: look at the proxy.");
	}
	if (response.ok) return answer;
	throw problem(response, answer);
}

function problem(response, answer) {
	// Problem details of the API, or the gate's own envelope around it.
	const said = sentence(answer.detail ?? answer.error?.message ?? response.statusText);
	switch (response.status) {
	case 401:
		return new Problem(401, "This is not the admin key of this gate.", "It is the secret of admin_key in the block pinegate_admin.");
	case 403:
		return new Problem(403, "This is a caller's key.", "The dashboard takes the admin key: the secret of admin_key in the block pinegate_admin.");
	case 412:
		return new Problem(412, "Somebody else has changed this meanwhile.", "Close this, look at what it is now, and change it again.");
	case 429: {
		const wait = Number(response.headers.get("Retry-After"));
		return new Problem(429, "Too many tries from your address.", wait > 0 ? `Try again in ${wait} s.` : "Wait a little, and try again.");
	}
	case 503:
		return new Problem(503, said, "This page tries again by itself.");
	}
	return new Problem(response.status, said, response.status >= 500 ? "The gate's log says more." : "");
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/**
 * Asks for all of a list that comes in parts.
 *
 * @param {string} path
 * @param {Object} query
 * @param {AbortSignal} signal
 */
export async function all(path, query, signal) {
	const found = [];
	for (let after = null; ;) {
		const part = await ask("GET", path, { query: { ...query, limit: 1000, after }, signal });
		found.push(...part.data);
		if (!part.next) return found;
		after = part.next;
	}
}

/**
 * Asks for usage, page by page.
 *
 * @returns {Promise<{start_time: number, end_time: number, results: Object[]}[]>} all buckets
 */
export async function usage(query, signal) {
	const buckets = [];
	for (let page = null; ;) {
		const part = await ask("GET", "usage", { query: { ...query, page }, signal });
		buckets.push(...part.data);
		if (!part.has_more) return buckets;
		page = part.next_page;
	}
}
