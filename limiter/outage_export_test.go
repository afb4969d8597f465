package limiter

import "time"

// Charge charges what was used under rules, as of now.
func (r *Redis) Charge(id string, rules []*Rule, used Actual) { r.charge(id, holdsOf(rules, 0), used) }

// Hold takes an amount of each rule, and Unhold gives it back for what was used.
func (r *Redis) Hold(id string, rules []*Rule, amount int64) { r.hold(id, holdsOf(rules, amount)) }

func (r *Redis) Unhold(id string, rules []*Rule, amount int64, used Actual) {
	r.charge(id, holdsOf(rules, amount), used)
}

func holdsOf(rules []*Rule, amount int64) []hold {
	holds := make([]hold, len(rules))
	for i, rule := range rules {
		holds[i] = hold{rule: rule, amount: amount}
		if w := rule.Limit.Window; w.Quota() {
			start, _ := w.Bounds(time.Now())
			holds[i].mark = start.UnixNano()
		}
	}
	return holds
}
