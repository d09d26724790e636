package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// modelService is an OpenAI-compatible endpoint that knows one trick: it summarises by the customer's first words, and embeds a text by its words.
type modelService struct {
	mu    sync.Mutex
	mode  string // good, junk, liar, down
	asked int
	texts int // embedded
	sent  strings.Builder
	key   string
}

// cmdModel starts the service, or changes its mood: model good|junk|liar|down. $MODEL_URL is its address.
func cmdModel(ts *testscript.TestScript, s *story, args []string) {
	if s.model == nil {
		s.model = &modelService{}
		server := httptest.NewServer(s.model)
		s.tb.Cleanup(server.Close)
		ts.Setenv("MODEL_URL", server.URL+"/v1")
	}
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	s.model.mode = args[0]
}

// cmdAsked compares how often the service was asked since the last time; and fails if what it was sent holds one of the texts.
func cmdAsked(ts *testscript.TestScript, s *story, args []string) {
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	for i, got := range []int{s.model.asked, s.model.texts} {
		if args[i] != "-" && args[i] != fmt.Sprint(got) {
			ts.Fatalf("the model was asked for %d answers and %d vectors, want %s", s.model.asked, s.model.texts, strings.Join(args[:2], " and "))
		}
	}
	for _, secret := range args[2:] {
		if strings.Contains(s.model.sent.String(), secret) {
			ts.Fatalf("the model was sent %q", secret)
		}
	}
	s.model.asked, s.model.texts = 0, 0
	s.model.sent.Reset()
}

func (m *modelService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var req struct {
		Messages []struct{ Content string }
		Input    []string
	}
	_ = json.Unmarshal(body, &req)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent.Write(body)
	m.key = r.Header.Get("Authorization")
	var answer any
	switch {
	case m.mode == "down":
		http.Error(w, "no such model", http.StatusNotFound) // which is not tried again
		return
	case strings.HasSuffix(r.URL.Path, "/embeddings"):
		m.texts += len(req.Input)
		answer = embed(req.Input)
	default:
		m.asked++
		answer = map[string]any{"choices": []any{map[string]any{"message": map[string]any{"content": m.summary(req.Messages[1].Content)}}}, "usage": map[string]any{"total_tokens": 50}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (m *modelService) summary(question string) string {
	if m.mode == "junk" {
		return "I would rather not."
	}
	var q struct {
		Messages []struct {
			Message int    `json:"message"`
			From    string `json:"from"`
			Text    string `json:"text"`
		} `json:"messages"`
	}
	_ = json.Unmarshal([]byte(question), &q)
	first := q.Messages[0]
	words := strings.Fields(first.Text)
	said := strings.Join(words[:min(8, len(words))], " ")
	type quote struct {
		Message int    `json:"message"`
		Quote   string `json:"quote"`
	}
	type item struct {
		Kind   string  `json:"kind"`
		Text   string  `json:"text"`
		Quotes []quote `json:"quotes"`
	}
	items := []item{{"summary", said, []quote{{first.Message, said}}}}
	if m.mode == "liar" {
		items = append(items, item{"resolution", "The customer Mallory gets 777 dollars.", []quote{{first.Message, said}}})
	}
	text, _ := json.Marshal(map[string]any{"items": items})
	return string(text)
}

// embed makes vectors of 16 numbers in which texts with the same words lie together. "harbour" and "port" are one word to it.
func embed(texts []string) any {
	var data []any
	for i, text := range texts {
		v := make([]float32, 16)
		for _, word := range strings.Fields(strings.ToLower(text)) {
			word = strings.ReplaceAll(strings.Trim(word, ".,?!"), "harbour", "port")
			h := fnv.New32a()
			_, _ = h.Write([]byte(word))
			v[h.Sum32()%16]++
		}
		data = append(data, map[string]any{"index": i, "embedding": v})
	}
	return map[string]any{"data": data, "usage": map[string]any{"total_tokens": 10}}
}
