package request

import "github.com/amanycodes/pine-gate/internal/wire"

// paramErrorf returns a KindBadRequest whose Param is param.
func paramErrorf(param, format string, args ...any) *wire.Error {
	e := wire.Errorf(wire.KindBadRequest, format, args...)
	e.Param = param
	return e
}
