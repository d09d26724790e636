package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/knowledge"
	"haloingest/stages/distill/model"
)

func embedFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "embedding-model", Usage: "the `NAME` of the embedding model, as its endpoint knows it", Category: categoryModel},
	}, endpointFlags()...)
}

// embedder reads embedFlags.
func (a *app) embedder(c *cli.Context, ws *workspace) (*model.Embedder, error) {
	name := strings.TrimSpace(c.String("embedding-model"))
	if name == "" {
		return nil, usagef("--embedding-model is missing: the model as its endpoint knows it")
	}
	endpoint, _, err := a.endpoint(c, ws)
	if err != nil {
		return nil, err
	}
	by, err := model.NewEmbedder(endpoint, name)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return by, nil
}

func (a *app) embedKnowledge(c *cli.Context) error {
	ws, err := a.openKnownAlone(c)
	if err != nil {
		return err
	}
	defer ws.close()
	by, err := a.embedder(c, ws)
	if err != nil {
		return err
	}
	done, err := knowledge.Embed(c.Context, ws.DB, ws.org, by)
	if errors.Is(err, model.ErrEndpoint) || errors.Is(err, model.ErrBudget) {
		err = &exitError{exitIncomplete, fmt.Errorf("%w; %s rows have got their vectors, the same command goes on from there", err, count(done.Rows))}
	}
	if err != nil {
		return err
	}
	return a.result(done, func(w io.Writer) {
		if done.Forgotten > 0 {
			fmt.Fprintf(w, "Forgot the vectors of another model: %s rows.\n", count(done.Forgotten))
		}
		fmt.Fprintf(w, "Embedded %s rows: %s texts by the model, %s rows by vectors that were kept.\n", count(done.Rows), count(done.Asked), count(done.Kept))
	})
}

// queryVector embeds what is searched for, where that is asked for and there are vectors to compare it with.
func (a *app) queryVector(c *cli.Context, ws *workspace, text string) ([]float32, error) {
	if c.String("embedding-model") == "" {
		return nil, nil
	}
	by, err := a.embedder(c, ws)
	if err != nil {
		return nil, err
	}
	has, err := ws.EmbeddingModel(c.Context, ws.org)
	if err != nil {
		return nil, err
	}
	if has != by.Model() {
		ws.log.Warn("searching by words alone: there are no vectors of this model", "model", by.Model(), "there are of", has)
		return nil, nil
	}
	vectors, err := by.Embed(c.Context, []string{model.Plain(text)})
	if errors.Is(err, model.ErrEndpoint) || errors.Is(err, model.ErrBudget) {
		ws.log.Warn("searching by words alone", "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return vectors[0], nil
}
