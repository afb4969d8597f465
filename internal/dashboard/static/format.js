// Numbers, money and times as people read them. What is shortened has the exact
// value in its title.

import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const none = "–";

/** A count in words of at most five characters or so: 9,999, 12.3 k, 1.2 M. */
export function short(n) {
	if (n === null || n === undefined) return none;
	if (Math.abs(n) < 10000) return whole.format(n);
	let size = 1000;
	for (const unit of ["k", "M", "G", "T"]) {
		// What rounds to 1000 belongs to the next unit.
		if (Math.abs(n) < size * 999.5 || unit === "T") return `${trim((n / size).toPrecision(3))} ${unit}`;
		size *= 1000;
	}
}

const trim = (digits) => (digits.includes(".") && !digits.includes("e") ? digits.replace(/\.?0+$/, "") : String(Number(digits)));

/** A count, with the exact one in its title. */
export function count(n) {
	return h("span", { title: n === null || n === undefined ? null : whole.format(n) }, short(n));
}

/** An amount in USD: cents from a dollar on, three digits that count below. */
export function money(n) {
	if (n === null || n === undefined) return none;
	if (Math.abs(n) >= 1e6) return `$${short(n)}`;
	const size = Math.abs(n) < 1 && n !== 0 ? Math.floor(Math.log10(Math.abs(n))) : 0;
	return `$${new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 - size }).format(n)}`;
}

/** An amount of a limit's unit, with the exact one in its title. */
export function amount(n, unit) {
	return unit === "usd" ? h("span", { title: n === null ? null : `$${n}` }, money(n)) : count(n);
}

const localTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const localDate = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** A time in the browser's zone, with UTC in its title; `when` is unix seconds or RFC 3339. */
export function time(when) {
	if (when === null || when === undefined || when === "") return none;
	const date = new Date(typeof when === "number" ? when * 1000 : when);
	if (Number.isNaN(date.getTime())) return String(when);
	const near = Math.abs(Date.now() - date) < 180 * 24 * 3600e3;
	return h("time", { datetime: date.toISOString(), title: `${utc(date)} UTC` }, (near ? localTime : localDate).format(date));
}

const utc = (date) => date.toISOString().slice(0, 19).replace("T", " ");

/** A stretch of time in its two largest units. */
export function duration(seconds) {
	if (seconds === null || seconds === undefined) return none;
	if (seconds > 0 && seconds < 0.001) return "< 1 ms";
	if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
	if (seconds < 10) return `${seconds.toFixed(2)} s`;
	return stretch(Math.round(seconds));
}

function stretch(rest) {
	const parts = [];
	for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
		const n = Math.floor(rest / size);
		rest -= n * size;
		if (n > 0 || parts.length > 0) parts.push(n > 0 ? `${n} ${unit}` : "");
		if (parts.length === 2) break;
	}
	return parts.filter(Boolean).join(" ");
}

/** When something will be, from now: "in 3 h 5 min", with the time in its title. */
export function until(unix) {
	if (unix === null || unix === undefined) return none;
	const date = new Date(unix * 1000);
	const seconds = unix - Date.now() / 1000;
	return h("time", { datetime: date.toISOString(), title: `${localDate.format(date)} (${utc(date)} UTC)` },
		seconds > 0 ? `in ${stretch(Math.ceil(seconds))}` : "now");
}

/** A share in percent. */
export function percent(part, all) {
	if (!all) return "0 %";
	const share = (part / all) * 100;
	return `${share > 0 && share < 0.1 ? "< 0.1" : trim(share.toFixed(share < 10 ? 1 : 0))} %`;
}
