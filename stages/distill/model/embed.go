package model

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"haloingest/stages/distill"
)

// Embedder turns texts into vectors by a model behind an OpenAI-compatible endpoint. It is safe for concurrent use.
type Embedder struct {
	model  string
	client *client
}

// Texts and bytes of one request; a longer text is cut, as models read a few thousand characters at most.
const (
	embedTexts = 64
	embedBytes = 6_000
)

// NewEmbedder returns an Embedder, or an error that names the setting that is wrong.
func NewEmbedder(e Endpoint, model string) (*Embedder, error) {
	if err := CheckURL(e.URL); err != nil {
		return nil, fmt.Errorf("the model's URL: %w", err)
	}
	if strings.TrimSpace(model) == "" {
		return nil, errors.New("the embedding model has no name")
	}
	return &Embedder{model: model, client: newClient(e)}, nil
}

// Model is the model's name.
func (e *Embedder) Model() string { return e.model }

var numbered = regexp.MustCompile(`_\d+⟧`)

// Plain is the form in which a text is embedded: without personal data, and without the numbers by which placeholders are told apart, which mean nothing
// outside of their text. names are those of people whom it is about.
func Plain(text string, names ...string) string {
	c := &distill.Conversation{Turns: []distill.Turn{{Text: text, Parts: []distill.Span{{Start: 0, End: len(text)}}}}}
	for _, name := range names {
		c.Turns = append(c.Turns, distill.Turn{Name: name})
	}
	var x masked
	x.add(newMask(c), text, 0, len(text))
	return cut(numbered.ReplaceAllString(x.text, closing), embedBytes)
}

// Key names what a plain text is embedded as by this model.
func (e *Embedder) Key(plain string) (key [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "embed/1\x00%s\x00%s", e.model, plain)
	h.Sum(key[:0])
	return key
}

type embedRequest struct {
	Model string   `json:"model"`
	Input []string `json:"input"`
}

type embedResponse struct {
	Data []struct {
		Index     int       `json:"index"`
		Embedding []float32 `json:"embedding"`
	} `json:"data"`
	Usage struct {
		TotalTokens int64 `json:"total_tokens"`
	} `json:"usage"`
}

// Embed returns the vectors of plain texts, each of length one, all of the same number of dimensions. An error is ErrBudget, ErrEndpoint or ctx's; then what
// was done is returned with it, in order.
func (e *Embedder) Embed(ctx context.Context, plain []string) (vectors [][]float32, err error) {
	for len(plain) > 0 {
		n := min(len(plain), embedTexts)
		some, err := e.some(ctx, plain[:n])
		if err != nil {
			return vectors, err
		}
		if len(vectors) > 0 && len(some[0]) != len(vectors[0]) {
			return vectors, fmt.Errorf("%w: its vectors have %d dimensions and %d", ErrEndpoint, len(vectors[0]), len(some[0]))
		}
		vectors, plain = append(vectors, some...), plain[n:]
	}
	return vectors, nil
}

func (e *Embedder) some(ctx context.Context, texts []string) ([][]float32, error) {
	var res embedResponse
	if err := e.client.post(ctx, "/embeddings", embedRequest{e.model, texts}, &res); err != nil {
		return nil, err
	}
	if e.client.Budget != nil {
		tokens := res.Usage.TotalTokens
		if tokens <= 0 {
			for _, t := range texts {
				tokens += int64(utf8.RuneCountInString(t)/4 + 1)
			}
		}
		if err := e.client.Budget.Tokens(ctx, tokens); err != nil {
			return nil, err
		}
	}
	vectors := make([][]float32, len(texts))
	for _, d := range res.Data {
		if d.Index < 0 || d.Index >= len(texts) || vectors[d.Index] != nil || !unit(d.Embedding) {
			return nil, fmt.Errorf("%w: it gave no vector, or two, for one of the texts", ErrEndpoint)
		}
		vectors[d.Index] = d.Embedding
	}
	for _, v := range vectors {
		if len(v) == 0 || len(v) != len(vectors[0]) {
			return nil, fmt.Errorf("%w: it did not give a vector of the same kind for each of the texts", ErrEndpoint)
		}
	}
	return vectors, nil
}

// unit gives a vector the length of one. It reports whether that can be done.
func unit(v []float32) bool {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return false
	}
	length := math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) / length)
	}
	return true
}
