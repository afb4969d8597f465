package request

import "github.com/amanycodes/pine-gate/internal/wire"

// Edit describes the gate's changes to a request.
type Edit struct {
	Model string // the backend's name for the model; "" keeps the caller's

	// Cap lowers every cap of the request that is above it. If the request has
	// none that its API reads, Cap is inserted as CapName, in the dialect's spelling,
	// unless that is "". A value below 1, such as -1, changes nothing.
	Cap     int64
	CapName string

	// IncludeUsage and ContinuousUsage set include_usage and
	// continuous_usage_stats in stream_options to true, whatever they were.
	IncludeUsage, ContinuousUsage bool
}

// splice replaces a range of the body. With an empty range it inserts.
type splice struct {
	at   span
	with []byte
}

// splices holds the changes to one body, sorted by offset: the model, the caps
// and the budget of thinking, two stream options, and two insertions.
type splices struct {
	list [maxCaps + 6]splice
	n    int
}

// add inserts a splice after those with a lower or equal offset.
func (s *splices) add(at span, with []byte) {
	i := s.n
	for ; i > 0 && s.list[i-1].at.start > at.start; i-- {
		s.list[i] = s.list[i-1]
	}
	s.list[i] = splice{at, with}
	s.n++
}

// Edit returns body, from which the request was scanned, with the changes e. It
// replaces ranges of the body and keeps all other bytes. It does not copy the
// body, which must not be modified while the result is in use. In a form, it
// changes existing fields but inserts none.
func (r *Request) Edit(body []byte, e Edit) Body {
	var s splices
	if r.form {
		return r.editForm(body, e)
	}
	var insert []byte // members to insert before the others
	if e.Model != "" && e.Model != r.Model {
		if r.model.present() {
			s.add(r.model, wire.AppendString(nil, e.Model))
		} else {
			insert = wire.AppendString(insert, r.spell("model"))
			insert = wire.AppendString(append(insert, ':'), e.Model)
			insert = append(insert, ',')
		}
	}
	if e.Cap > 0 {
		insert = r.editCaps(&s, insert, e)
	}
	insert = r.editOptions(&s, insert, e)
	if len(insert) > 0 {
		if r.empty {
			insert = insert[:len(insert)-1]
		}
		s.add(span{r.open, r.open}, insert)
	}
	return newBody(body, &s)
}

// editForm is Edit for a multipart body, whose fields are unquoted text.
func (r *Request) editForm(body []byte, e Edit) Body {
	var s splices
	if e.Model != "" && e.Model != r.Model && r.model.present() {
		s.add(r.model, []byte(e.Model))
	}
	if e.Cap > 0 {
		r.lowerCaps(&s, e.Cap)
	}
	return newBody(body, &s)
}

// editOptions sets the stream options of e, or appends them to insert, and returns
// insert.
func (r *Request) editOptions(s *splices, insert []byte, e Edit) []byte {
	var members []byte
	set := func(wanted bool, at span, f field) {
		switch {
		case !wanted:
		case at.present():
			s.add(at, []byte("true"))
		default:
			members = wire.AppendString(members, fieldNames[f])
			members = append(members, ":true,"...)
		}
	}
	set(e.IncludeUsage && !r.IncludeUsage, r.includeUsage, fieldIncludeUsage)
	set(e.ContinuousUsage, r.continuousUsageStats, fieldContinuousUsageStats)
	if len(members) == 0 {
		return insert
	}
	last := len(members) - 1 // the trailing comma
	switch {
	case r.streamOptionsNull:
		members[last] = '}'
		s.add(r.streamOptions, append([]byte{'{'}, members...))
	case r.streamOptions.present():
		if r.streamOptionsEmpty {
			members = members[:last]
		}
		inside := r.streamOptions.start + len("{")
		s.add(span{inside, inside}, members)
	default:
		members[last] = '}'
		insert = append(insert, `"stream_options":{`...)
		insert = append(append(insert, members...), ',')
	}
	return insert
}
