package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// merge applies a JSON merge patch (RFC 7396) to spec. Unknown and repeated
// fields are errors. Nested objects are merged field by field.
func merge[T any](spec *T, patch []byte) error {
	present, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	merged, err := mergeObjects(present, patch)
	if err != nil {
		return err
	}
	next, err := Decode[T](merged)
	if err != nil {
		return err
	}
	*spec = next
	return nil
}

func mergeObjects(target, patch []byte) ([]byte, error) {
	var into, from map[string]json.RawMessage
	if err := strict.Unmarshal(patch, &from); err != nil || from == nil {
		return nil, invalid("expected a JSON object without repeated names")
	}
	if json.Unmarshal(target, &into) != nil || into == nil {
		into = make(map[string]json.RawMessage)
	}
	for name, value := range from {
		switch {
		case bytes.Equal(bytes.TrimSpace(value), []byte("null")):
			delete(into, name)
		case bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")):
			merged, err := mergeObjects(into[name], value)
			if err != nil {
				return nil, err
			}
			into[name] = merged
		default:
			into[name] = value
		}
	}
	return json.Marshal(maps.Clone(into))
}

// Decode parses a spec strictly: an unknown or repeated field, or one of the wrong
// type, is an [*InvalidError] that names it.
func Decode[T any](text []byte) (spec T, err error) {
	err = strict.Unmarshal(text, &spec, strict.RejectUnknownMembers(true))
	var semantic *strict.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case err == nil:
		return spec, nil
	case errors.Is(err, strict.ErrUnknownName) && errors.As(err, &semantic):
		return spec, invalid(field(semantic.JSONPointer) + ": unknown field")
	case errors.As(err, &semantic) && semantic.JSONPointer == "":
		return spec, invalid("expected a JSON object")
	case errors.As(err, &semantic) && semantic.Err != nil:
		return spec, invalid(field(semantic.JSONPointer) + ": " + semantic.Err.Error())
	case errors.As(err, &semantic):
		return spec, invalid(field(semantic.JSONPointer) + ": a value of the wrong type")
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return spec, invalid(field(syntactic.JSONPointer) + ": the field is there twice")
	default:
		return spec, invalid("expected a JSON object")
	}
}

// field returns the name of the field that an error points to, without the
// leading slash of the pointer.
func field(pointer jsontext.Pointer) string {
	name := string(pointer)
	if len(name) > 1 {
		name = name[1:]
	}
	if len(name) > maxMetadataName { // it may be a misplaced secret
		name = name[:maxMetadataName] + "…"
	}
	return name
}
