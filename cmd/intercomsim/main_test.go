package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output can be read while the program writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestItServesUntilItIsStopped(t *testing.T) {
	dir := t.TempDir()
	urlFile, tokenFile := filepath.Join(dir, "url"), filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("secret-token-1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs output
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- newApp(&out, &errs).RunContext(ctx, []string{"intercomsim", "--conversations", "1000000", "--url-file", urlFile, "--token-file", tokenFile,
			"--rate-limit", "10000/min", "--region", "eu", "--timezone", "Asia/Tokyo"})
	}()
	var url string
	for end := time.Now().Add(30 * time.Second); url == "" && time.Now().Before(end); {
		select {
		case err := <-done:
			t.Fatalf("it stopped by itself: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		b, _ := os.ReadFile(urlFile) // not there yet
		url = strings.TrimSpace(string(b))
	}
	req, err := http.NewRequest("GET", url+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret-token-1234")
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 || !strings.Contains(string(body), `"region":"EU"`) || !strings.Contains(string(body), "Asia/Tokyo") || res.Header.Get("X-RateLimit-Limit") != "1667" {
		t.Errorf("/me: %d %s", res.StatusCode, body)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	line := out.String()
	for _, want := range []string{url, "...1234", "500000 contacts", "20000 companies", "1000000 conversations", "50000 tickets"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q does not say %q", line, want)
		}
	}
	if strings.Count(line, "\n") != 1 || strings.Contains(line+errs.String(), "secret-token") {
		t.Errorf("output: %q %q", line, errs.String())
	}
	if !strings.Contains(errs.String(), "after 1 requests") {
		t.Errorf("last words: %q", errs.String())
	}
}

func TestMistakesAreNamedInOneLine(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args, want string
	}{
		{"a rate that is none", "--rate-limit fast", "--rate-limit"},
		{"an unknown fault", "--faults gremlins", "gremlins"},
		{"a fault with an unknown setting", "--faults 5xx:colour=red", "colour"},
		{"an unknown scope", "--scopes everything", "everything"},
		{"an unknown time zone", "--timezone Mars/Olympus", "Mars/Olympus"},
		{"an unknown region", "--region moon", "MOON"},
		{"an unknown version", "--version-default 9.9", "9.9"},
		{"a date that is none", "--start yesterday", "--start"},
		{"a file that is not there", "--dialogs nowhere.jsonl", "nowhere.jsonl"},
		{"a file of no dialogues", "--dialogs " + empty, "none"},
		{"an empty token", "--token-file " + empty, "empty"},
		{"an address that is none", "--listen nowhere:99999", "nowhere:99999"},
		{"a place for the URL that is none", "--url-file /nowhere/at/all", "--url-file"},
		{"a word too many", "serve", "serve"},
		{"changes that are no number", "--changes often", "--changes"},
		{"more duplicates than webhooks", "--webhook-duplicates 101", "--webhook-duplicates"},
		{"webhooks to nowhere", "--webhooks here --webhook-secret-file " + empty, "--webhooks"},
		{"webhooks without a secret", "--webhooks http://127.0.0.1:1", "--webhook-secret-file"},
		{"an empty webhook secret", "--webhooks http://127.0.0.1:1 --webhook-secret-file " + empty, "empty"},
		{"a webhook secret for nobody", "--webhook-secret-file " + empty, "--webhooks"},
		{"an unknown flag", "--conversation 5", "conversation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out output
			err := newApp(&out, &out).RunContext(t.Context(), append([]string{"intercomsim"}, strings.Fields(c.args)...))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
		})
	}
}

// The README's tour gives a token file that is not there yet to the workspace first, and to connect then.
func TestATokenFileThatIsNotThereIsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	ctx, stop := context.WithCancel(context.Background())
	stop()
	var out, errs output
	if err := newApp(&out, &errs).RunContext(ctx, []string{"intercomsim", "--conversations", "1", "--token", "made-for-this-1234", "--token-file", file}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || string(b) != "made-for-this-1234\n" {
		t.Errorf("the file holds %q (%v)", b, err)
	}
}
