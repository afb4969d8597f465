package request

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// NamedModel is a model that a request names in another place than model, and that
// a backend may use: that of an advisor, of a tool that generates images, or of a
// plugin.
type NamedModel struct {
	Model string
	Param string // the member of the body in which it stands
}

type namedModels struct{ list []NamedModel }

// maxNamedModels bounds how many models a request may name. No client names so
// many.
const maxNamedModels = 64

// NamedModels returns the models that the request names in other places than
// model. They have to be authorized and priced, too.
func (r *Request) NamedModels() []NamedModel {
	if r.elsewhere == nil {
		return nil
	}
	return r.elsewhere.list
}

// addModel adds a model by its quoted name. Past the bound it adds an empty one,
// which no key may use.
func (r *Request) addModel(quoted []byte, param string) {
	if r.elsewhere == nil {
		r.elsewhere = new(namedModels)
	}
	name, err := jsontext.AppendUnquote(nil, quoted)
	switch n := len(r.elsewhere.list); {
	case n > maxNamedModels:
		return
	case n == maxNamedModels || err != nil || len(name) > wire.MaxModelBytes:
		name = nil
	}
	r.elsewhere.list = append(r.elsewhere.list, NamedModel{string(name), param})
}

// namesModels reports whether a member with this name, in lower case, holds the name
// of a model or a list of them: model, draft_model, allowed_models.
func namesModels(name []byte) bool {
	return string(name) == "model" || string(name) == "models" || bytes.HasSuffix(name, []byte("_model")) || bytes.HasSuffix(name, []byte("_models"))
}

// other parses the value of a member that the gate does not know, the name of
// which was read last, for models and for what backends store. It ignores
// metadata, which is the caller's own.
func (s *scanner) other(r *Request) *wire.Error {
	kind := s.decoder.PeekKind()
	if kind != '"' && kind != '{' && kind != '[' {
		return s.skip()
	}
	name, param := s.memberName(s.last), "model"
	if plainName(name) {
		param = string(name)
	}
	switch {
	case bytes.HasSuffix(name, []byte("metadata")):
		return s.skip()
	case kind == '"' && namesModels(name):
		at, err := s.next()
		if err == nil {
			r.addModel(s.body[at.start:at.end], param)
		}
		return err
	case kind == '"':
		return s.skip()
	}
	return s.walk(r, namesModels(name), param)
}

// walk reads an object or array, and adds the models that it names. models is set
// if it is the value of a member that names models. A string that names what a
// backend stores is refused; an object of that name may be a schema.
func (s *scanner) walk(r *Request, models bool, param string) *wire.Error {
	s.levels = append(s.levels[:0], level{models: models})
	for {
		at, err := s.next()
		if err != nil {
			return err
		}
		open := &s.levels[len(s.levels)-1]
		switch c := s.body[at.start]; {
		case c == '}' || c == ']':
			s.levels = s.levels[:len(s.levels)-1]
		case open.wantName:
			err = s.walkName(open, at)
		case c == '{':
			open.wantName = open.object
			s.levels = append(s.levels, level{object: true, wantName: true})
		case c == '[':
			open.wantName = open.object
			s.levels = append(s.levels, level{models: open.models})
		default:
			open.wantName = open.object
			if open.models && c == '"' {
				r.addModel(s.body[at.start:at.end], param)
			}
		}
		if err != nil || len(s.levels) == 1 {
			return err
		}
	}
}

// walkName reads the name of a member of the open object.
func (s *scanner) walkName(open *level, at span) *wire.Error {
	name := s.memberName(at)
	f := byName[string(name)]
	switch {
	case f.isStored() && s.decoder.PeekKind() == '"':
		return refused(f)
	case bytes.HasSuffix(name, []byte("metadata")): // the caller's own
		return s.skip()
	}
	open.wantName, open.models = false, namesModels(name)
	return nil
}

// isStored reports whether the field names what a backend stores wherever it
// stands, and not only in the body itself.
func (f field) isStored() bool {
	switch f {
	case fieldContainerID, fieldThreadID, fieldPreviousMessageID, fieldPreviousInteractionID, fieldConversationID, fieldCachedContent, fieldUserProfileID:
		return true
	}
	return false
}

// memberName returns the name at the span at, in lower case.
func (s *scanner) memberName(at span) []byte {
	quoted := s.body[at.start:at.end]
	if len(quoted) > maxFieldBytes*len(`\u0000`)+2 {
		return nil
	}
	if plain := quoted[1 : len(quoted)-1]; plainName(plain) {
		return plain
	}
	name, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return nil // unreachable: the decoder has validated it
	}
	folded, _ := foldName(string(name))
	return folded
}

// plainName reports whether a name is of lower case letters and underscores, so that
// a message may repeat it.
func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}
