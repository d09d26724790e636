// Package model distils conversations with a language model behind an OpenAI-compatible endpoint.
//
// Nothing that it says is believed. An answer has to have the form that was asked for; each item has to quote messages, word for word; and every number,
// date, address, code and name in it has to occur in what it quotes. What fails is dropped and counted. Where an answer cannot be used at all, after one
// request to repair it, or where there is none, the conversation gets what the offline distiller makes of it, marked as a fallback.
//
// Personal data does not leave the process: typed placeholders do. Answers are kept by what was asked, so the same conversation is paid for once, and
// distilled the same way each time.
package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/stages/distill"
)

// Cache keeps answers by what was asked. It is safe for concurrent use.
type Cache interface {
	// Answer returns what was kept under key, nil if nothing was.
	Answer(ctx context.Context, key [32]byte) ([]byte, error)
	Keep(ctx context.Context, key [32]byte, answer []byte) error
}

// Options configures New. Endpoint.URL and Model are needed.
type Options struct {
	Endpoint Endpoint
	Model    string
	Cache    Cache        // nil: nothing is kept, and equal runs may differ
	AtOnce   int          // conversations that are asked about at once, 0: 4
	Log      *slog.Logger // hears, once each, why answers could not be had; nil for silence
}

// Distiller is a distill.Distiller that asks a model. It is safe for concurrent use.
type Distiller struct {
	options Options
	client  *client
	offline distill.Offline
	plain   atomic.Bool // the service does not know response_format
	told    atomic.Bool
}

// New returns a Distiller, or an error that names the setting that is wrong.
func New(o Options) (*Distiller, error) {
	if err := CheckURL(o.Endpoint.URL); err != nil {
		return nil, fmt.Errorf("the model's URL: %w", err)
	}
	if strings.TrimSpace(o.Model) == "" {
		return nil, errors.New("the model has no name")
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Endpoint.HTTP == nil {
		o.Endpoint.HTTP = NewHTTPClient(o.AtOnce)
	}
	return &Distiller{options: o, client: newClient(o.Endpoint)}, nil
}

// Name names the model and the version of what it is asked.
func (d *Distiller) Name() string { return version + " " + d.options.Model }

// AtOnce is how many conversations are worth distilling at the same time.
func (d *Distiller) AtOnce() int { return d.options.AtOnce }

// Distill is DistillCounting without the counts.
func (d *Distiller) Distill(ctx context.Context, c *distill.Conversation) ([]distill.Item, error) {
	return d.DistillCounting(ctx, c, new(pipeline.Counts))
}

// DistillCounting asks the model about the conversation, or what is kept of having asked. An error is ctx's, or the cache's or budget's.
func (d *Distiller) DistillCounting(ctx context.Context, c *distill.Conversation, counts *pipeline.Counts) ([]distill.Item, error) {
	p, err := prepare(c)
	if err != nil {
		return nil, err
	}
	items, why, err := d.ask(ctx, p, counts)
	if err != nil {
		return nil, err
	}
	if why == "" {
		counts.Add("distill/model/used", 1)
		return items, nil
	}
	counts.Add("distill/model/fallback/"+why, 1)
	if items, err = d.offline.Distill(ctx, c); err != nil {
		return nil, err
	}
	for i := range items {
		items[i].By, items[i].Fallback = d.offline.Name(), why
	}
	return items, nil
}

// Why the offline result stands in for the model's.
const (
	whyBudget = "budget spent"
	whySilent = "no answer"
	whyForm   = "answer of another form"
	whyClaims = "answer without grounds"
)

// ask returns the items of the model's answer, or why there are none.
func (d *Distiller) ask(ctx context.Context, p *prepared, counts *pipeline.Counts) (items []distill.Item, why string, err error) {
	key := p.key(d.options.Model)
	if d.options.Cache != nil {
		kept, err := d.options.Cache.Answer(ctx, key)
		if err != nil {
			return nil, "", fmt.Errorf("look for a kept answer: %w", err)
		}
		if kept != nil {
			counts.Add("distill/model/kept", 1)
			items, why, _ := p.judge(string(kept), counts)
			return items, why, nil
		}
	}
	messages := []chatMessage{{"system", p.system}, {"user", string(p.question)}}
	var text string
	for try := range 2 {
		if text, err = d.complete(ctx, messages, counts); err != nil {
			break
		}
		var wrong error
		last := pipeline.Counts{}
		items, why, wrong = p.judge(text, &last)
		if why == "" || try == 1 {
			counts.Merge(last)
			break
		}
		counts.Add("distill/model/repaired", 1)
		messages = append(messages, chatMessage{"assistant", cut(text, 8_000)},
			chatMessage{"user", "That cannot be used: " + wrong.Error() + ". Answer again, with the JSON object alone, and only with what the messages say."})
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case errors.Is(err, ErrBudget):
		return nil, whyBudget, nil
	case errors.Is(err, ErrEndpoint):
		d.tell(ctx, err)
		return nil, whySilent, nil
	default:
		return nil, "", err
	}
	if d.options.Cache != nil {
		// What could not be used is kept as well: asking the same again would cost the same and say the same.
		if err := d.options.Cache.Keep(ctx, key, []byte(text)); err != nil {
			return nil, "", fmt.Errorf("keep an answer: %w", err)
		}
	}
	return items, why, nil
}

// tell logs the first of what may be thousands of equal errors.
func (d *Distiller) tell(ctx context.Context, err error) {
	level := slog.LevelDebug
	if d.told.CompareAndSwap(false, true) {
		level = slog.LevelWarn
	}
	d.options.Log.Log(ctx, level, "the model gave no answer; conversations are distilled offline and marked", "error", err)
}

// judge reads an answer and keeps what holds; without a summary that does, none of it counts. wrong is what a repair has to know.
func (p *prepared) judge(text string, counts *pipeline.Counts) (items []distill.Item, why string, wrong error) {
	a, err := parseAnswer(text)
	if err != nil {
		return nil, whyForm, err
	}
	items, refused := p.ground(a)
	counts.Add("distill/model/dropped", int64(len(refused)))
	for _, it := range items {
		if it.Kind == record.KnowledgeSummary {
			return items, "", nil
		}
	}
	if len(refused) == 0 {
		return nil, whyForm, errors.New("it has no summary")
	}
	return nil, whyClaims, errors.Join(refused...)
}

// complete asks once.
func (d *Distiller) complete(ctx context.Context, messages []chatMessage, counts *pipeline.Counts) (string, error) {
	req := chatRequest{Model: d.options.Model, Messages: messages, Seed: 1, MaxTokens: 2_000}
	if !d.plain.Load() {
		req.ResponseFormat = &responseFormat{Type: "json_schema", JSONSchema: &jsonSchema{"knowledge", true, schema}}
	}
	counts.Add("distill/model/requests", 1)
	var res chatResponse
	err := d.client.post(ctx, "/chat/completions", req, &res)
	var status *statusError
	if errors.As(err, &status) && status.status == 400 && req.ResponseFormat != nil && strings.Contains(status.text, "response_format") {
		d.plain.Store(true)
		req.ResponseFormat = nil
		err = d.client.post(ctx, "/chat/completions", req, &res)
	}
	if err != nil {
		return "", err
	}
	if d.options.Endpoint.Budget != nil {
		tokens := res.Usage.TotalTokens
		if tokens <= 0 { // not every server counts
			for _, m := range messages {
				tokens += int64(len(m.Content)/4 + 1)
			}
		}
		if err := d.options.Endpoint.Budget.Tokens(ctx, tokens); err != nil {
			return "", err
		}
	}
	if len(res.Choices) == 0 {
		return "", nil // which parses as an empty answer
	}
	return res.Choices[0].Message.Content, nil
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }
