package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of an answer.
const (
	maxItems  = 12
	maxQuotes = 8
	maxText   = 1_200 // characters
	maxQuote  = 800
)

// answer is what a model says of a conversation, as it says it.
type answer struct {
	Items []answerItem `json:"items"`
}

type answerItem struct {
	Kind   string        `json:"kind"`
	Text   string        `json:"text"`
	Quotes []answerQuote `json:"quotes"`
}

type answerQuote struct {
	Message int    `json:"message"`
	Quote   string `json:"quote"`
}

// parseAnswer reads an answer and says what is wrong with its form. What it claims is not looked at.
func parseAnswer(text string) (a answer, err error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "```"); ok { // a habit of models that were told not to
		rest = strings.TrimPrefix(rest, "json")
		text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "```"))
	}
	if text == "" {
		return a, errors.New("it is empty")
	}
	in := json.NewDecoder(bytes.NewReader([]byte(text)))
	in.DisallowUnknownFields()
	if err := in.Decode(&a); err != nil {
		return a, fmt.Errorf("it is not the JSON that was asked for: %w", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return a, errors.New("there is something behind the JSON object")
	}
	switch {
	case len(a.Items) == 0:
		return a, errors.New("it has no items")
	case len(a.Items) > maxItems:
		return a, fmt.Errorf("it has %d items; at most %d are wanted", len(a.Items), maxItems)
	}
	for i, it := range a.Items {
		if err := it.check(); err != nil {
			return a, fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return a, nil
}

func (it *answerItem) check() error {
	switch n := utf8.RuneCountInString(it.Text); {
	case !kinds[it.Kind]:
		return fmt.Errorf("kind %.30q is none of those asked for", it.Kind)
	case strings.TrimSpace(it.Text) == "":
		return errors.New("its text is empty")
	case n > maxText:
		return fmt.Errorf("its text has %d characters; at most %d are wanted", n, maxText)
	case len(it.Quotes) == 0:
		return errors.New("it has no quotes")
	case len(it.Quotes) > maxQuotes:
		return fmt.Errorf("it has %d quotes; at most %d are wanted", len(it.Quotes), maxQuotes)
	}
	for _, q := range it.Quotes {
		if strings.TrimSpace(q.Quote) == "" || utf8.RuneCountInString(q.Quote) > maxQuote {
			return fmt.Errorf("a quote must have 1 to %d characters", maxQuote)
		}
	}
	return nil
}
