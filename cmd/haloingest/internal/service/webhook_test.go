package service_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestEveryWebhookIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	good := event("n-1", "contact.created", `{"type":"contact","id":"abc"}`)
	changed := bytes.Replace(good, []byte(`"abc"`), []byte(`"abd"`), 1)
	var bomb bytes.Buffer
	gz := gzip.NewWriter(&bomb)
	_, _ = gz.Write(make([]byte, 64<<20)) // into memory
	_ = gz.Close()
	deep := []byte(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	ping := event("n-2", "ping", `{}`)
	foreign := []byte(`{"id":"n-9","topic":"contact.created","app_id":"somebody","data":{"item":{"type":"contact","id":"abc"}}}`)
	huge := make([]byte, webhook.MaxBody+1)
	count := func() int { return scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`) }
	for _, tt := range []struct {
		name   string
		org    record.UUID
		body   []byte
		header []string
		status int
		stored int
	}{
		{"no signature", org, good, nil, 401, 0},
		{"a wrong one", org, good, []string{"X-Hub-Signature", "sha1=" + strings.Repeat("0", 40)}, 401, 0},
		{"a body changed by a byte", org, changed, []string{"X-Hub-Signature", sign(good)}, 401, 0},
		{"another organisation's secret", org, good, []string{"X-Hub-Signature", webhook.Sign([]byte(otherSecret), good)}, 401, 0},
		{"another organisation", other, good, []string{"X-Hub-Signature", sign(good)}, 401, 0},
		{"an organisation that is not known", record.UUID{1}, good, []string{"X-Hub-Signature", sign(good)}, 401, 0},
		{"a good one", org, good, []string{"X-Hub-Signature", sign(good)}, 200, 1},
		{"a good one, sent as if by a page of another site", org, good, []string{"X-Hub-Signature", sign(good), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 200, 0},
		{"a topic that needs no work", org, ping, []string{"X-Hub-Signature", sign(ping)}, 200, 0},
		{"another workspace's event", org, foreign, []string{"X-Hub-Signature", sign(foreign)}, 200, 0},
		{"no JSON", org, []byte("hello"), []string{"X-Hub-Signature", sign([]byte("hello"))}, 200, 1},
		{"a gzip bomb", org, bomb.Bytes(), []string{"X-Hub-Signature", sign(bomb.Bytes()), "Content-Encoding", "gzip"}, 200, 1},
		{"a gzip bomb of nobody's", org, bomb.Bytes(), []string{"Content-Encoding", "gzip"}, 401, 0},
		{"depth 10,000", org, deep, []string{"X-Hub-Signature", sign(deep)}, 200, 1},
		{"a body over the limit", org, huge, []string{"X-Hub-Signature", sign(huge)}, 413, 0},
	} {
		before := count()
		a := r.ask(http.MethodPost, hookPath(tt.org), bytes.NewReader(tt.body), tt.header...)
		if a.status != tt.status || a.status == 401 && a.body != "" {
			t.Errorf("%s: status %d, want %d; %q", tt.name, a.status, tt.status, a.body)
		}
		if n := count() - before; n != tt.stored {
			t.Errorf("%s: %d rows were stored, want %d", tt.name, n, tt.stored)
		}
	}
	// Chunked, and without end; nobody has to read it to its end.
	if a, err := r.try(http.MethodPost, hookPath(org), io.LimitReader(zeros{}, 1<<40), webhook.SignatureHeader, sign(nil)); err == nil && a.status != 413 {
		t.Errorf("an endless body: status %d", a.status)
	}
	if a, err := r.try(http.MethodPost, hookPath(org), nil, webhook.SignatureHeader, sign(nil), "X-Padding", strings.Repeat("x", 64<<10)); err == nil && a.status != 431 {
		t.Errorf("headers over the limit: status %d", a.status)
	}
	for method, want := range map[string]int{"HEAD": 200, "GET": 405, "PUT": 405, "DELETE": 405} {
		if a := r.ask(method, hookPath(org), nil); a.status != want {
			t.Errorf("%s: status %d, want %d", method, a.status, want)
		}
	}
	if n := count(); n != 4 {
		t.Errorf("%d deliveries are stored, want 4", n)
	}
}

func TestASlowWebhookIsGivenUpWithoutHarmToOthers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	var slow []net.Conn
	for i := range 100 {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.Local, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		length := []string{"Content-Length: 1000000", "Content-Length: 1000", "Transfer-Encoding: chunked"}[i%3]
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nX-Hub-Signature: sha1=00\r\n\r\n1", hookPath(org), length)
		slow = append(slow, c)
	}
	if status := r.hook(event("n-1", "contact.created", `{"type":"contact","id":"abc"}`)); status != 200 {
		t.Errorf("a good one among slow ones: %d", status)
	}
	for _, c := range slow {
		answer, err := io.ReadAll(c) // ends when the server hangs up
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Fatalf("a slow one: %q, %v", answer, err)
		}
	}
}
