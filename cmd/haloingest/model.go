package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/pipeline"
	"haloingest/sinks/postgres"
	"haloingest/stages/distill"
	"haloingest/stages/distill/model"
)

const categoryModel = "Distilling"

// Distillers that --distiller names.
const (
	distillOffline = "offline"
	distillModel   = "model"
)

// modelFlags say who distils. Every command that makes knowledge has them.
func modelFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "distiller", Usage: "distil with `WHICH`: offline, which needs no model, or model. All runs of an organisation should use the same", Value: distillOffline, Category: categoryModel},
		&cli.StringFlag{Name: "model-name", Usage: "the `NAME` of the model, as its endpoint knows it", Category: categoryModel},
		&cli.IntFlag{Name: "model-concurrency", Usage: "ask about at most `N` conversations at once", Value: 4, Category: categoryModel},
	}, endpointFlags()...)
}

// endpointFlags say where models are asked, and for how much.
func endpointFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "model-url", Usage: "`URL` of an OpenAI-compatible endpoint, up to the version: https://host/v1; plain http on this machine only", Category: categoryModel},
		&cli.StringFlag{Name: "model-key-file", Usage: "`FILE` with the endpoint's key, - for standard input (or HALOINGEST_MODEL_KEY); without either, no key is sent", Category: categoryModel},
		&cli.IntFlag{Name: "model-requests-per-day", Usage: "make at most `N` requests a day (UTC) for this organisation (0: any number)", Value: 10_000, Category: categoryModel},
		&cli.IntFlag{Name: "model-tokens-per-day", Usage: "use at most about `N` tokens a day (0: any number)", Category: categoryModel},
	}
}

// store is a ModelStore in the terms of the package model.
type store struct{ *postgres.ModelStore }

func (s store) Request(ctx context.Context) error {
	err := s.ModelStore.Request(ctx)
	if errors.Is(err, postgres.ErrBudget) {
		return model.ErrBudget
	}
	return err
}

// endpoint reads endpointFlags.
func (a *app) endpoint(c *cli.Context, ws *workspace) (model.Endpoint, store, error) {
	requests, err := atLeastZero(c, "model-requests-per-day")
	if err != nil {
		return model.Endpoint{}, store{}, err
	}
	tokens, err := atLeastZero(c, "model-tokens-per-day")
	if err != nil {
		return model.Endpoint{}, store{}, err
	}
	url := c.String("model-url")
	if url == "" {
		return model.Endpoint{}, store{}, usagef("--model-url is missing: the address of an OpenAI-compatible endpoint, such as https://host/v1")
	}
	if err := model.CheckURL(url); err != nil {
		return model.Endpoint{}, store{}, usagef("--model-url: %w", err)
	}
	key, err := a.readSecret(c, "model-key")
	if err != nil {
		return model.Endpoint{}, store{}, err
	}
	s := store{ws.ModelStore(ws.org, int64(requests), int64(tokens))}
	return model.Endpoint{URL: url, Key: key.Reveal(), Budget: s}, s, nil
}

// distiller returns what --distiller names; nil for the offline one, which is the usual.
func (a *app) distiller(c *cli.Context, ws *workspace) (distill.Distiller, error) {
	switch which := c.String("distiller"); which {
	case "", distillOffline:
		return nil, nil
	case distillModel:
	default:
		return nil, usagef("--distiller %q: want offline or model", which)
	}
	name := strings.TrimSpace(c.String("model-name"))
	if name == "" {
		return nil, usagef("--model-name is missing: the model as its endpoint knows it")
	}
	atOnce := c.Int("model-concurrency")
	if atOnce < 1 || atOnce > 64 {
		return nil, usagef("--model-concurrency %d: want 1 to 64", atOnce)
	}
	endpoint, s, err := a.endpoint(c, ws)
	if err != nil {
		return nil, err
	}
	d, err := model.New(model.Options{Endpoint: endpoint, Model: name, Cache: s, AtOnce: atOnce, Log: ws.log})
	if err != nil {
		return nil, usagef("%w", err)
	}
	return d, nil
}

// printModel says what a model did for a run, if one was asked.
func printModel(w io.Writer, counts pipeline.Counts) {
	const fallback = "distill/model/fallback/"
	used, fell := counts["distill/model/used"], int64(0)
	var why []string
	for name, n := range counts {
		if reason, ok := strings.CutPrefix(name, fallback); ok {
			fell += n
			why = append(why, fmt.Sprintf("%s: %s", reason, count(n)))
		}
	}
	if used+fell == 0 {
		return
	}
	slices.Sort(why)
	text := fmt.Sprintf("\nDistilled with the model: %s conversations, %s of them by answers that were kept; %s claims without grounds dropped.",
		count(used), count(counts["distill/model/kept"]), count(counts["distill/model/dropped"]))
	if fell > 0 {
		text += fmt.Sprintf("\nDistilled offline in its place, and marked: %s (%s). A full run asks again where no answer came; answers that did not hold are kept, so as not to be paid for twice.", count(fell), strings.Join(why, "; "))
	}
	fmt.Fprintln(w, text)
}
