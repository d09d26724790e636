package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"haloingest/sources/webhook"
)

func TestItKeepsChangingAndTellsOfItBySignedWebhooks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("client-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	topics, ids := map[string]int{}, map[string]int{}
	enough := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = webhook.Verify([]byte("client-secret"), body, r.Header.Get("X-Hub-Signature"))
		}
		var n struct{ ID, Topic string }
		if err == nil {
			err = json.Unmarshal(body, &n)
		}
		if err != nil {
			t.Errorf("%v: %.200s", err, body)
		}
		mu.Lock()
		defer mu.Unlock()
		topics[n.Topic]++
		ids[n.ID]++
		if len(ids) == 400 {
			close(enough)
		}
	}))
	defer srv.Close()
	var out, errs output
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- newApp(&out, &errs).RunContext(ctx, []string{"intercomsim", "--conversations", "500", "--changes", "30000/min", "--webhooks", srv.URL, "--webhook-secret-file", secret})
	}()
	<-enough
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	for _, want := range []string{"conversation.user.created", "conversation.user.replied", "conversation.admin.replied", "conversation.admin.closed", "ticket.state.updated"} {
		if topics[want] == 0 {
			t.Errorf("nothing was told of %s: %v", want, topics)
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if strings.Contains(out.String()+errs.String(), "client-secret") || !strings.Contains(errs.String(), " webhooks, ") {
		t.Errorf("last words: %q", errs.String())
	}
}
