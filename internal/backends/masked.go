package backends

import (
	"bytes"
	"io"
)

// maskedBody is a body that replaces each byte of a secret by an asterisk.
// Events pass without delay. Only trailing bytes that may begin a secret wait
// for what follows them; a secret contains no line break, so no event waits.
type maskedBody struct {
	io.ReadCloser
	secrets [][]byte
	found   func() // called for each secret that was masked

	held  []byte // may begin a secret; shorter than the longest secret
	ready []byte // for a reader whose buffer was too small
	err   error  // follows what is held
}

// minMasked is the least space to read into.
const minMasked = 4 << 10

func masked(body io.ReadCloser, secrets []string, found func()) io.ReadCloser {
	m := &maskedBody{ReadCloser: body, found: found}
	for _, secret := range secrets {
		m.secrets = append(m.secrets, []byte(secret))
	}
	return m
}

// Read implements io.Reader.
func (m *maskedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(m.ready) > 0 {
			n := copy(p, m.ready)
			m.ready = m.ready[n:]
			return n, nil
		}
		if m.err != nil {
			return 0, m.err
		}
		if len(p)-len(m.held) >= minMasked {
			if n := m.fill(p); n > 0 {
				return n, m.errBehind()
			}
			continue
		}
		room := make([]byte, len(m.held)+minMasked)
		m.ready = room[:m.fill(room)]
	}
}

// errBehind returns the error that ended the body, once no bytes are ready any
// more.
func (m *maskedBody) errBehind() error {
	if len(m.ready) > 0 {
		return nil
	}
	return m.err
}

// fill reads once into b, after what is held, and returns how much of b may be
// passed on.
func (m *maskedBody) fill(b []byte) int {
	n := copy(b, m.held)
	read, err := m.ReadCloser.Read(b[n:])
	b, m.err = b[:n+read], err
	for _, secret := range m.secrets {
		for rest := b; ; {
			i := bytes.Index(rest, secret)
			if i < 0 {
				break
			}
			for j := range secret {
				rest[i+j] = '*'
			}
			rest = rest[i+len(secret):]
			m.found()
		}
	}
	keep := 0
	if err == nil {
		keep = m.begun(b)
	}
	m.held = append(m.held[:0], b[len(b)-keep:]...)
	return len(b) - keep
}

// begun returns the length of the longest suffix of b that is a prefix of a
// secret.
func (m *maskedBody) begun(b []byte) (longest int) {
	for _, secret := range m.secrets {
		tail := b[max(0, len(b)-len(secret)+1):]
		for len(tail) > longest {
			i := bytes.IndexByte(tail, secret[0])
			if i < 0 {
				break
			}
			if tail = tail[i:]; bytes.HasPrefix(secret, tail) {
				longest = max(longest, len(tail))
				break
			}
			tail = tail[1:]
		}
	}
	return longest
}
