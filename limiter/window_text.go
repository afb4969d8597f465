package limiter

import "fmt"

// MarshalText returns the window's long name, which is its form in JSON. It
// fails for NoWindow and for unknown windows.
func (w Window) MarshalText() ([]byte, error) {
	if w == NoWindow || w > Month {
		return nil, fmt.Errorf("no window: expected %s", windowList)
	}
	return []byte(w.String()), nil
}

// UnmarshalText parses a window's long or short name.
func (w *Window) UnmarshalText(text []byte) error {
	parsed, err := parseWindow(string(text))
	if err != nil {
		return err
	}
	*w = parsed
	return nil
}
