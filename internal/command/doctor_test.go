package command

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/doctor"
)

func TestSeriousFindingsAreAnError(t *testing.T) {
	found := []doctor.Finding{{Serious: true}, {Serious: true}, {}}
	if err := verdictOn(found); err == nil || err.Error() != "2 findings are serious" {
		t.Error(err)
	}
	if err := verdictOn(found[2:]); err != nil {
		t.Error(err)
	}
}
