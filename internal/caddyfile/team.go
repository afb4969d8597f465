package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// aPattern returns an error for a text that is not a pattern of model names.
func aPattern(text string) error {
	_, err := pattern.Parse(text)
	return err
}

// parseTeam parses a team and its block:
//
//	team <name> {
//		models <pattern>...
//		limit <n> <unit>[/<window>] [burst <n>]
//	}
func parseTeam(d *caddyfile.Dispenser, ids definitions) (config.Team, error) {
	var team config.Team
	var err error
	if team.ID, err = ids.add(d, "team"); err != nil {
		return team, err
	}
	head := *d
	err = parseBlock(d, subdirectives{
		"models": listOf(&team.Models, "patterns of models", aPattern),
		"limit":  limitsOf(&team.Limits),
	}, nil)
	if err == nil && len(team.Models) == 0 && len(team.Limits) == 0 {
		// Most likely the brace is missing, and the lines that follow were parsed
		// as the gate's.
		err = head.Errf("team %q holds nothing: expected '{' and models or limit", team.ID)
	}
	return team, err
}

// parseModel parses a pattern of models and its block:
//
//	model <pattern> {
//		limit <n> <unit>[/<window>] [burst <n>]
//		price input <usd> [output <usd>] [cached <usd>] [cache_write <usd>]
//	}
func parseModel(d *caddyfile.Dispenser, patterns definitions) (config.Model, error) {
	var model config.Model
	text, err := argument(d, "a pattern of models")
	if err != nil {
		return model, err
	}
	if err := aPattern(text); err != nil {
		return model, d.Errf("model: %v", err)
	}
	if line, again := patterns[text]; again {
		return model, d.Errf("model %q is defined already, in line %d", text, line)
	}
	patterns[text] = d.Line()
	model.Pattern = text

	head := *d
	err = parseBlock(d, subdirectives{
		"limit": limitsOf(&model.Limits),
		"price": {parse: func(d *caddyfile.Dispenser) error {
			args, err := arguments(d, "input <usd> [output <usd>] [cached <usd>] [cache_write <usd>] per million tokens")
			if err != nil {
				return err
			}
			price, err := pricing.Parse(args)
			if err != nil {
				return d.WrapErr(err)
			}
			model.Price = &price
			return nil
		}},
	}, nil)
	if err == nil && len(model.Limits) == 0 && model.Price == nil {
		err = head.Errf("model %q holds nothing: expected '{' and limit or price", text)
	}
	return model, err
}
