package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// vectors is an embeddings endpoint: answer makes the body of the nth reply, "" for a good one.
func vectors(t *testing.T, answer func(n int, input []string) (status int, body string)) (*Embedder, *memory, *int) {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req embedRequest
		if body, _ := io.ReadAll(r.Body); json.Unmarshal(body, &req) != nil || r.URL.Path != "/v1/embeddings" || req.Model != "e" {
			t.Errorf("%s %s", r.URL.Path, body)
		}
		if len(req.Input) > embedTexts {
			t.Errorf("%d texts at once", len(req.Input))
		}
		n++
		status, body := http.StatusOK, ""
		if answer != nil {
			status, body = answer(n, req.Input)
		}
		if body == "" {
			var data []string
			for i := len(req.Input) - 1; i >= 0; i-- { // the order is the index's, not the list's
				data = append(data, fmt.Sprintf(`{"index":%d,"embedding":[%d,1]}`, i, len(req.Input[i])))
			}
			body = `{"data":[` + strings.Join(data, ",") + `],"usage":{"total_tokens":7}}`
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	purse := &memory{}
	e, err := NewEmbedder(Endpoint{URL: server.URL + "/v1", Budget: purse, Sleep: func(context.Context, time.Duration) error { return nil }}, "e")
	if err != nil {
		t.Fatal(err)
	}
	return e, purse, &n
}

func TestTextsAreEmbeddedInBatchesAndInOrder(t *testing.T) {
	e, purse, n := vectors(t, nil)
	var texts []string
	for i := range 150 {
		texts = append(texts, strings.Repeat("x", i+1))
	}
	got, err := e.Embed(t.Context(), texts)
	if err != nil || len(got) != 150 || *n != 3 || purse.tokens != 21 {
		t.Fatalf("%d vectors, %d requests, %d tokens, %v", len(got), *n, purse.tokens, err)
	}
	for i, v := range got {
		length := math.Hypot(float64(v[0]), float64(v[1]))
		if math.Abs(length-1) > 1e-5 || math.Abs(float64(v[0]/v[1])-float64(i+1)) > 1e-2 {
			t.Fatalf("text %d has %v", i, v)
		}
	}
}

func TestVectorsThatAreNoneAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"none": `{"data":[]}`, "one for two": `{"data":[{"index":0,"embedding":[1]}]}`, "twice the same": `{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`,
		"an index beyond": `{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}`, "nothing in it": `{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[1]}]}`,
		"all zero": `{"data":[{"index":0,"embedding":[0,0]},{"index":1,"embedding":[1,0]}]}`, "two lengths": `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,0]}]}`,
		"a page": "<html>", "words": `{"data":[{"index":0,"embedding":["x"]}]}`,
	} {
		e, _, _ := vectors(t, func(int, []string) (int, string) { return 200, body })
		if got, err := e.Embed(t.Context(), []string{"a", "b"}); !errors.Is(err, ErrEndpoint) || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestWhatWasEmbeddedBeforeAFailureIsReturned(t *testing.T) {
	e, purse, _ := vectors(t, nil)
	purse.most = 2
	got, err := e.Embed(t.Context(), make([]string, 200))
	if !errors.Is(err, ErrBudget) || len(got) != 2*embedTexts {
		t.Errorf("%d vectors, %v", len(got), err)
	}
	e, _, _ = vectors(t, func(n int, _ []string) (int, string) {
		if n > 1 {
			return 500, "oops"
		}
		return 200, ""
	})
	if got, err = e.Embed(t.Context(), make([]string, 200)); !errors.Is(err, ErrEndpoint) || len(got) != embedTexts {
		t.Errorf("%d vectors, %v", len(got), err)
	}
}

func TestTextsAreEmbeddedWithoutPersonalData(t *testing.T) {
	got := Plain("Customer: Ann Lee <ann@x.example>\n\nCustomer: I am Ann, see https://x.example/1 and https://x.example/2", "Ann Lee")
	if want := "Customer: ⟦NAME⟧ <⟦EMAIL⟧>\n\nCustomer: I am ⟦NAME⟧, see ⟦URL⟧ and ⟦URL⟧"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if n := len(Plain(strings.Repeat("é", 50_000))); n > embedBytes {
		t.Errorf("%d bytes", n)
	}
	a, _ := NewEmbedder(Endpoint{URL: "https://x/v1"}, "a")
	b, _ := NewEmbedder(Endpoint{URL: "https://x/v1"}, "b")
	if again := a.Key("x"); again != a.Key(string([]byte{'x'})) || again == a.Key("y") || again == b.Key("x") {
		t.Error("keys do not tell texts and models apart")
	}
}
