package request

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// All callers share a backend's account, which returns every stored object to
// anyone who names it. A request must not name an object whose owner the gate
// cannot verify: items of earlier answers, and containers that tools ran in.

// watch is a kind of object that may name an object stored by a backend.
type watch uint8

const (
	watchNone        watch = iota
	watchItem              // an item of a response's input
	watchTool              // a tool
	watchEnvironment       // a tool's environment
	watchParameters        // a tool's parameters
)

// naming is a member of a watched object that the gate reads.
type naming uint8

const (
	namesNothing naming = iota
	namesID
	namesType
	namesRole
	namesContent
	namesResult
	namesContainer
	namesContainerID
	namesEnvironment
	namesParameters
	namesModel
)

// watched is the state of an object that may name an object stored by a backend.
type watched struct {
	watch   watch
	reading naming // the member being read

	id, kind, role, content, result bool // the object has the member, and it is not null
	picture                         bool // the object is an image_generation_call
	refers                          bool // the object certainly names a stored object
}

// watch returns the kind of the field's value, if that is an object, or of the
// objects in its array.
func (f field) watch(e wire.Endpoint) watch {
	switch {
	case f == fieldTools:
		return watchTool
	case f == fieldInput && e.Group() == wire.Responses.Group(): // compact and input_tokens take the same input
		return watchItem
	}
	return watchNone
}

// watched returns the state of the open object of kind w. At most one of each
// kind is open at a time, so that levels need not hold the state.
func (s *scanner) watched(w watch) *watched {
	if w == watchEnvironment || w == watchParameters {
		return &s.environment
	}
	return &s.naming
}

// begin returns the kind of an object that opens inside level in, and resets its
// state.
func (s *scanner) begin(in *level) (w watch) {
	switch {
	case len(s.levels) == 1 || len(s.levels) == 2 && !in.object:
		w = s.watch
	case in.watch == watchTool && s.naming.reading == namesEnvironment:
		w = watchEnvironment
	case in.watch == watchTool && s.naming.reading == namesParameters:
		w = watchParameters
	}
	if w != watchNone {
		*s.watched(w) = watched{watch: w}
	}
	return w
}

// name records the name of the next member. Some parsers ignore case, so names
// match in any case. Only type must match exactly, since it may show that the
// object is not a reference.
func (w *watched) name(quoted []byte) {
	name := quoted[1 : len(quoted)-1]
	w.reading = namesNothing
	if len(name) > maxFieldBytes*len(`\u0000`) {
		return
	}
	var space [maxFieldBytes * len(`\u0000`)]byte
	name, err := jsontext.AppendUnquote(space[:0], quoted)
	if err != nil {
		return
	}
	folded, exact := foldName(string(name))
	switch string(folded) {
	case "id":
		w.reading = namesID
	case "type":
		if w.reading = namesType; !exact {
			w.reading = namesNothing
		}
	case "role":
		w.reading = namesRole
	case "content":
		w.reading = namesContent
	case "result":
		w.reading = namesResult
	case "container":
		w.reading = namesContainer
	case "container_id":
		w.reading = namesContainerID
	case "environment":
		w.reading = namesEnvironment
	case "parameters":
		w.reading = namesParameters
	default:
		if namesModels(folded) {
			w.reading = namesModel
		}
	}
}

// value records the first token of a member's value.
func (w *watched) value(token []byte) {
	if token[0] == 'n' { // null counts as absent
		return
	}
	switch w.reading {
	case namesID:
		w.id = true
	case namesType:
		w.kind = true
		if w.watch == watchItem && token[0] == '"' {
			w.itemType(token)
		}
	case namesRole:
		w.role = true
	case namesContent:
		w.content = true
	case namesResult:
		w.result = true
	case namesContainer:
		// An object, {"type":"auto"}, requests a new container.
		w.refers = w.refers || w.watch == watchTool && token[0] == '"'
	case namesContainerID:
		// In parameters, an object is the schema of an argument.
		w.refers = w.refers || w.watch != watchItem && (w.watch != watchParameters || token[0] != '{')
	}
}

func (w *watched) itemType(quoted []byte) {
	var space [64]byte
	kind, err := jsontext.AppendUnquote(space[:0], quoted)
	if err != nil {
		return
	}
	switch string(kind) {
	case "item_reference":
		w.refers = true
	case "image_generation_call":
		w.picture = true
	}
}

// named reports whether a closed object names an object stored by a backend. An
// item with an id but no type is a reference unless it is a message; so is an
// image_generation_call without its result.
func (w *watched) named() bool {
	return w.refers || w.watch == watchItem && w.id && (!w.kind && !(w.role && w.content) || w.picture && !w.result)
}

// refusal returns the error for a field that names a stored object.
func (f field) refusal() *wire.Error {
	if f == fieldTools {
		return f.containerRefusal()
	}
	return paramErrorf(f.String(), "input must hold its items whole: references to stored items are not supported by this gateway. Set store: false, so that your client sends whole items.")
}

// containerRefusal returns the error for a field that names a container.
func (f field) containerRefusal() *wire.Error {
	if f == fieldTools {
		return paramErrorf(f.String(), "tools must not name a container: this gateway's callers share those. Use {\"type\":\"auto\"}.")
	}
	return paramErrorf(f.String(), "input must not name a container: this gateway's callers share those. Leave out container_id and the items that need it.")
}

// newContainer parses container, as messages have it. It accepts the description of a
// new container, and refuses the id of an existing one.
func (s *scanner) newContainer(f field) *wire.Error {
	refusal := paramErrorf(f.String(), "container must not name one that exists: this gateway's callers share those.")
	at, err := s.next()
	if err != nil || s.body[at.start] == 'n' {
		return err
	}
	if s.body[at.start] != '{' {
		return refusal
	}
	for {
		at, err := s.next()
		if err != nil || s.body[at.start] == '}' {
			return err
		}
		var w watched
		w.name(s.body[at.start:at.end])
		if w.reading != namesID {
			if err := s.skip(); err != nil {
				return err
			}
			continue
		}
		if at, err = s.next(); err != nil {
			return err
		}
		if s.body[at.start] != 'n' {
			return refusal
		}
	}
}
