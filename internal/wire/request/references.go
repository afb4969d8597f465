package request

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// All callers share a backend's account, which hands out whatever it keeps to
// whoever names it. What the gate can't know to be the caller's own may not be
// named: the items of earlier answers, and the containers that tools ran in.

// watch is where in a body something may be named that a backend keeps.
type watch uint8

const (
	watchNone        watch = iota
	watchItem              // an item of a response's input
	watchTool              // a tool
	watchEnvironment       // a tool's environment
)

// naming is a member of a watched object.
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
)

// watched is what is known of an object that may name what a backend keeps.
type watched struct {
	watch   watch
	reading naming // the member that is being read

	id, kind, role, content, result bool // it has such a member, which is not null
	picture                         bool // it is an image_generation_call
	refers                          bool // it names something for sure
}

// watch says what is looked for in the objects at the top of a field, or in its
// list.
func (f field) watch(e wire.Endpoint) watch {
	switch {
	case e != wire.Responses:
		return watchNone
	case f == fieldInput:
		return watchItem
	case f == fieldTools:
		return watchTool
	}
	return watchNone
}

// watched is the object that is open and watched for this. There is one of
// each at a time, so that they take no room in the levels of a body.
func (s *scanner) watched(w watch) *watched {
	if w == watchEnvironment {
		return &s.environment
	}
	return &s.naming
}

// begin says what is looked for in an object that opens in another level, and
// begins with it.
func (s *scanner) begin(in *level) (w watch) {
	switch {
	case len(s.levels) == 1 || len(s.levels) == 2 && !in.object:
		w = s.watch
	case in.watch == watchTool && s.naming.reading == namesEnvironment:
		w = watchEnvironment
	}
	if w != watchNone {
		*s.watched(w) = watched{watch: w}
	}
	return w
}

// name takes note of a member's name. Parsers that ignore case are no reason to
// believe that a member is there, but one to fear it.
func (w *watched) name(quoted []byte) {
	name := quoted[1 : len(quoted)-1]
	w.reading = namesNothing
	if len(name) > len("container_id")*len(`\u0000`) {
		return
	}
	var space [len("container_id") * len(`\u0000`)]byte
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
	}
}

// value takes note of a member's value, or of what opens it.
func (w *watched) value(token []byte) {
	if token[0] == 'n' { // null is absence
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
		// {"type":"auto"} is a new one.
		w.refers = w.refers || w.watch == watchTool && token[0] == '"'
	case namesContainerID:
		w.refers = w.refers || w.watch != watchItem
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

// named reports, of an object that has ended, whether it names something that a
// backend keeps. An item without a type is a reference, but for a message; a
// picture without its data is one, too.
func (w *watched) named() bool {
	return w.refers || w.watch == watchItem && w.id && (!w.kind && !(w.role && w.content) || w.picture && !w.result)
}

// refusal says what a watched object must not name.
func (f field) refusal() *wire.Error {
	if f == fieldTools {
		return paramErrorf(f.String(), "tools must not name a container: this gateway's callers share those. Use {\"type\":\"auto\"}.")
	}
	return paramErrorf(f.String(), "input must hold its items whole: references to stored items are not supported by this gateway.")
}

// container reads the container of messages: a new one may be described, but
// none be named.
func (s *scanner) container(f field) *wire.Error {
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
