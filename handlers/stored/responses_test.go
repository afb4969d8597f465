package stored

import "testing"

func TestAResponseBelongsToTheKeyThatMadeIt(t *testing.T) {
	c := NewResponses(2)
	c.Add("r1", "alice", "one")
	c.Add("r1", "mallory", "two") // a second claim changes nothing
	if b, ok, _ := c.Find(t.Context(), "r1", "alice"); !ok || b != "one" {
		t.Errorf("alice finds %q, %t", b, ok)
	}
	if _, ok, _ := c.Find(t.Context(), "r1", "mallory"); ok {
		t.Error("mallory finds alice's response")
	}
	c.Add("r2", "alice", "one")
	c.Add("r3", "alice", "one")
	if _, ok, _ := c.Find(t.Context(), "r1", "alice"); ok {
		t.Error("more are remembered than there is room for")
	}
	if _, ok, _ := c.Find(t.Context(), "r3", "alice"); !ok {
		t.Error("the newest is forgotten")
	}
}
