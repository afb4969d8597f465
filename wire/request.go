package wire

// maxModelBytes bounds a model's name: the longest in use are paths of
// repositories with a tag, well under it.
const maxModelBytes = 256

// Request is what the gate read of a body.
type Request struct {
	Model            string
	Stream           bool
	Cap              int64
	N                int64
	IncludeUsage     bool
	Background       bool
	PreviousResponse string
	PromptBytes      int64
	Messages         int64
	Images           int64
}

// Scan reads a JSON body.
func Scan(e Endpoint, body []byte) (*Request, *Error) {
	return nil, Errorf(KindInternal, "")
}

// hasControl tells whether a string holds a control character.
func hasControl(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return true
		}
	}
	return false
}
