package request

import (
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// paramErrorf returns a KindBadRequest whose Param is param.
func paramErrorf(param, format string, args ...any) *wire.Error {
	e := wire.Errorf(wire.KindBadRequest, format, args...)
	e.Param = param
	return e
}

// spell returns the name for what the gate calls name in the dialect of the body.
func (r *Request) spell(name string) string {
	if r.dialect == nil {
		return name
	}
	return r.dialect.RequestNames.Spell(name)
}

// respell sets the name of the field that err is about, which may be the first word of
// its message, to that in the dialect of the body.
func (r *Request) respell(err *wire.Error) *wire.Error {
	name := r.spell(err.Param)
	if rest, ok := strings.CutPrefix(err.Message, err.Param+" "); ok && err.Param != "" {
		err.Message = name + " " + rest
	}
	err.Param = name
	return err
}
