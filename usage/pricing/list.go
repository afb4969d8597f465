package pricing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// List holds the prices of models by their names in price files. A nil List is
// empty.
type List struct {
	prices map[string]*Price
}

// Read returns the list of some price files. If several of them have a model, its
// price is that of the last one, as a whole. The error names the file, the model
// and the field.
//
// A file is a JSON object in the format of model_prices_and_context_window.json:
// for each model, by its name, an object with its prices in USD a token. Read
// uses the fields
//
//	input_cost_per_token                        without it tokens have no price
//	output_cost_per_token                       default 0
//	output_cost_per_reasoning_token             default: that of output
//	cache_read_input_token_cost                 default: that of input
//	cache_creation_input_token_cost             default: that of input
//	cache_creation_input_token_cost_above_1hr   default: unknown
//	input_cost_per_audio_token                  default: unknown
//	cache_read_input_audio_token_cost           default: that of audio
//	input_cost_per_image_token                  default: that of input
//	cache_read_input_image_token_cost           default: that of image
//	output_cost_per_audio_token                 default: unknown
//	output_cost_per_image_token                 default: unknown
//	input_cost_per_second                       of audio; default: unknown
//
// and each but the last with the suffix _above_<n>k_tokens, for requests with more
// input than that, and with _flex, _batches or _priority, for that service tier. A
// field that is missing above a threshold is that below it. A field that is missing
// in a cheaper service tier is that of the standard one; one that is missing in
// priority is at least that. Other fields are ignored, and so is the entry
// sample_spec, which describes the format. If a model's tokens cost nothing while
// something else does, such as an image or a query, the price of its tokens is
// unknown: at 0 it would pass every budget.
//
// Prices are parsed as decimal numbers, and rounded to 10⁻¹² USD.
func Read(paths []string) (*List, error) {
	list := &List{prices: make(map[string]*Price)}
	for _, path := range paths {
		content, err := readPriceFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading prices: %w", err)
		}
		if err := list.add(content); err != nil {
			return nil, fmt.Errorf("reading prices: %s: %w", path, err)
		}
	}
	return list, nil
}

// readPriceFile reads a file. It rejects a file that is not regular: a pipe would
// block forever.
func readPriceFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return os.ReadFile(path)
}

// Len returns the number of models with a price.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.prices)
}

// Find returns the price of a model by the name that the caller requested and by
// the backend's own name, which may be the same; nil if the price is unknown. It
// is the first of these that is in the list:
//
//  1. the requested name,
//  2. the backend's own name of the model,
//  3. either of them prefixed with the backend's name, as in groq/llama-3.3-70b,
//  4. either of them without the parts before a slash, as gpt-4o of
//     openai/gpt-4o, removed one after the other.
func (l *List) Find(backend, asked, upstream string) *Price {
	if l == nil {
		return nil
	}
	names := [2]string{asked, upstream}
	for _, name := range names {
		if p := l.prices[name]; p != nil {
			return p
		}
	}
	for _, name := range names {
		if p := l.prices[backend+"/"+name]; p != nil {
			return p
		}
	}
	for _, name := range names {
		for found := true; found; {
			if _, name, found = strings.Cut(name, "/"); found && l.prices[name] != nil {
				return l.prices[name]
			}
		}
	}
	return nil
}

// add adds the content of a file. If a name is repeated the last one counts, as in
// every other reader of the format.
func (l *List) add(content []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(content), jsontext.AllowDuplicateNames(true))
	if err := expectObject(d, "an object of models"); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		model := name.String()
		if model == "sample_spec" {
			err = d.SkipValue()
		} else {
			err = l.addModel(d, model)
		}
		if err != nil {
			return fmt.Errorf("model %q: %w", model, err)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("expected nothing behind the models")
	}
	return nil
}

func (l *List) addModel(d *jsontext.Decoder, model string) error {
	if err := expectObject(d, "an object of prices"); err != nil {
		return err
	}
	entry := make(priceEntry)
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		field := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := entry.set(field, value); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	price := entry.price()
	if price == nil {
		delete(l.prices, model) // a later file removes the price of an earlier one
		return nil
	}
	l.prices[model] = price
	return nil
}

func expectObject(d *jsontext.Decoder, what string) error {
	if kind := d.PeekKind(); kind != '{' && kind != 0 { // 0: ReadToken returns the error
		return fmt.Errorf("expected %s", what)
	}
	_, err := d.ReadToken()
	if err == io.EOF {
		return fmt.Errorf("expected %s, and the file is empty", what)
	}
	return err
}
