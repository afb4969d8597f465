package pricing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/usage/internal/decimal"
)

// priceEntry is a model in a price file: its prices by service tier and threshold.
type priceEntry map[priceRow]*fields

// priceRow is a set of rates: those of a service tier, above a threshold.
type priceRow struct {
	service   string // "" is the standard one
	threshold int64  // tokens of input; 0: from the start
}

// otherCosts is a row of the entry if a field that is not read has a price above
// zero; secondCosts holds the price of a second.
var (
	otherCosts  = priceRow{service: "other"}
	secondCosts = priceRow{service: "second"}
)

// The fields of a row, in the order of priceFields.
const (
	fieldInput = iota
	fieldCached
	fieldHourWrite
	fieldCacheWrite
	fieldAudioInput
	fieldCachedAudio
	fieldImageInput
	fieldCachedImage
	fieldOutput
	fieldReasoning
	fieldAudioOutput
	fieldImageOutput
	numFields
)

// fields are the prices of one row; nil for a missing field.
type fields [numFields]*int64

// priceFields are the names of the fields. A name precedes its prefixes.
var priceFields = [numFields]string{
	fieldInput:       "input_cost_per_token",
	fieldCached:      "cache_read_input_token_cost",
	fieldHourWrite:   "cache_creation_input_token_cost_above_1hr",
	fieldCacheWrite:  "cache_creation_input_token_cost",
	fieldAudioInput:  "input_cost_per_audio_token",
	fieldCachedAudio: "cache_read_input_audio_token_cost",
	fieldImageInput:  "input_cost_per_image_token",
	fieldCachedImage: "cache_read_input_image_token_cost",
	fieldOutput:      "output_cost_per_token",
	fieldReasoning:   "output_cost_per_reasoning_token",
	fieldAudioOutput: "output_cost_per_audio_token",
	fieldImageOutput: "output_cost_per_image_token",
}

// The suffixes of the service tiers.
const (
	flexTier     = "flex"
	batchTier    = "batches"
	priorityTier = "priority"
)

// readField parses the name of a field, and returns the field and its row. ok is
// false for fields that are not read.
func readField(name string) (field int, row priceRow, ok bool) {
	const perSecond = "input_cost_per_second"
	if name == perSecond {
		return fieldInput, secondCosts, true
	}
	for field, base := range priceFields {
		rest, found := strings.CutPrefix(name, base)
		if !found || rest != "" && rest[0] != '_' {
			continue
		}
		return field, row, row.parse(rest)
	}
	return 0, row, false
}

// parse parses the suffixes of a name, in any order.
func (r *priceRow) parse(endings string) bool {
	for endings != "" {
		rest, above := strings.CutPrefix(endings, "_above_")
		switch {
		case above && r.threshold == 0:
			count, behind, found := strings.Cut(rest, "k_tokens")
			n, err := strconv.ParseInt(count, 10, 32)
			if !found || err != nil || n <= 0 {
				return false
			}
			r.threshold, endings = n*1000, behind
		case r.service == "":
			service, behind, _ := strings.Cut(endings[1:], "_")
			switch service {
			case flexTier, batchTier, priorityTier:
			default:
				return false
			}
			r.service, endings = service, ""
			if behind != "" {
				endings = "_" + behind
			}
		default:
			return false
		}
		if endings != "" && endings[0] != '_' {
			return false
		}
	}
	return true
}

// set sets the field of this name.
func (e priceEntry) set(name string, value jsontext.Value) error {
	field, row, ok := readField(name)
	if !ok {
		if strings.Contains(name, "cost_per_") && value.Kind() == '0' {
			if n, err := decimal.ParseNumber(string(value), 18); n > 0 || err != nil {
				e[otherCosts] = new(fields)
			}
		}
		return nil
	}
	unit := "token"
	if row == secondCosts {
		unit = "second"
	}
	switch value.Kind() {
	case 'n':
		return nil // absent
	case '0':
	default:
		return fmt.Errorf("%s: expected a number, the price of a %s in USD", shortened(value), unit)
	}
	n, err := decimal.ParseNumber(string(value), 12)
	if err != nil {
		return fmt.Errorf("%w: expected the price of a %s in USD", err, unit)
	}
	if n > maxPrice {
		return fmt.Errorf("%s is more than a USD for one %s", value, unit)
	}
	if e[row] == nil {
		e[row] = new(fields)
	}
	e[row][field] = &n
	return nil
}

// shortened returns value as error messages quote it.
func shortened(value jsontext.Value) string {
	const most = 40
	if len(value) > most {
		return strings.ToValidUTF8(string(value[:most]), "") + "…"
	}
	return string(value)
}

// price returns the price of the entry; nil if it has none.
func (e priceEntry) price() *Price {
	second := int64(Unknown)
	if said := e[secondCosts]; said != nil && *said[fieldInput] > 0 {
		second = *said[fieldInput]
	}
	price := &Price{Second: second, Services: new(Services)}
	standard := e.schedule("", nil)
	if standard != nil && standard.free() {
		if second == Unknown && e[otherCosts] == nil {
			return new(Price)
		}
		standard = nil // another field has a price
	}
	if standard == nil {
		if second == Unknown {
			return nil
		}
		price.Schedule = Schedule{Rates: unknownRates}
		return price
	}
	price.Schedule = *standard
	price.Services.Flex = e.schedule(flexTier, standard)
	price.Services.Batch = e.schedule(batchTier, standard)
	price.Services.Priority = e.schedule(priorityTier, standard)
	return price
}

// unknownRates are the rates of a model whose tokens have no known price.
var unknownRates = func() (r Rates) {
	for _, rate := range r.all() {
		*rate = Unknown
	}
	return r
}()

// free reports whether all known rates are 0.
func (s *Schedule) free() bool {
	for i := range s.Tiers {
		for _, rate := range s.Tiers[i].all() {
			if *rate > 0 {
				return false
			}
		}
	}
	for _, rate := range s.all() {
		if *rate > 0 {
			return false
		}
	}
	return true
}

// all returns the rates in the order of priceFields.
func (r *Rates) all() [numFields]*int64 {
	return [numFields]*int64{
		&r.Input, &r.Cached, &r.HourWrite, &r.CacheWrite, &r.AudioInput, &r.CachedAudio, &r.ImageInput, &r.CachedImage,
		&r.Output, &r.Reasoning, &r.AudioOutput, &r.ImageOutput,
	}
}

// schedule returns the schedule of a service tier; nil if it has no price of
// input. standard is the schedule of the standard tier, and nil when that is
// requested.
func (e priceEntry) schedule(service string, standard *Schedule) *Schedule {
	base := e[priceRow{service: service}]
	if base == nil || base[fieldInput] == nil {
		return nil
	}
	thresholds := []int64{0}
	for row := range e {
		if (row.service == service || row.service == "") && !slices.Contains(thresholds, row.threshold) {
			thresholds = append(thresholds, row.threshold)
		}
	}
	slices.Sort(thresholds)
	s := new(Schedule)
	var said, usual fields // the fields through the threshold, of this tier and of the standard one
	for _, threshold := range thresholds {
		own := said.add(e[priceRow{service, threshold}])
		longer := usual.add(e[priceRow{threshold: threshold}])
		var rates Rates
		switch service {
		case "":
			rates = said.rates()
		case priorityTier:
			rates = said.rates()
			atLeast := standard.at(threshold + 1).all()
			for i, rate := range rates.all() {
				if own[i] == nil {
					*rate = max(*rate, *atLeast[i])
				}
			}
		default:
			for i := range said {
				if own[i] == nil && (said[i] == nil || longer[i] != nil) {
					said[i] = usual[i]
				}
			}
			rates = said.rates()
		}
		if threshold == 0 {
			s.Rates = rates
		} else {
			s.Tiers = append(s.Tiers, Tier{Above: threshold, Rates: rates})
		}
	}
	return s
}

// add copies the fields that are set in row, and returns row, or an empty row if
// it is nil.
func (f *fields) add(row *fields) *fields {
	if row == nil {
		return new(fields)
	}
	for i, price := range row {
		if price != nil {
			f[i] = price
		}
	}
	return row
}

// rates returns the rates, with the defaults for missing fields.
func (f *fields) rates() (r Rates) {
	said := func(field int, otherwise int64) int64 {
		if f[field] != nil {
			return *f[field]
		}
		return otherwise
	}
	r.Input, r.Output = said(fieldInput, 0), said(fieldOutput, 0)
	r.Cached, r.CacheWrite = said(fieldCached, r.Input), said(fieldCacheWrite, r.Input)
	r.HourWrite = said(fieldHourWrite, Unknown)
	r.AudioInput, r.ImageInput = said(fieldAudioInput, Unknown), said(fieldImageInput, r.Input)
	r.CachedAudio, r.CachedImage = said(fieldCachedAudio, r.AudioInput), said(fieldCachedImage, r.ImageInput)
	r.Reasoning = said(fieldReasoning, r.Output)
	r.AudioOutput, r.ImageOutput = said(fieldAudioOutput, Unknown), said(fieldImageOutput, Unknown)
	return r
}
