package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// post sends a delivery and returns the status; header "" is none.
func post(tb testing.TB, client *http.Client, url string, body io.Reader, header string) int {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, url, body)
	if err != nil {
		tb.Fatal(err)
	}
	if header != "" {
		req.Header.Set(webhook.SignatureHeader, header)
	}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func event(id, topic, item string) []byte {
	return fmt.Appendf(nil, `{"type":"notification_event","id":%q,"topic":%q,"data":{"item":%s}}`, id, topic, item)
}

func sign(body []byte) string { return webhook.Sign([]byte(hookSecret), body) }

func TestEveryRequestIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Start(t, intercomtest.Options{Conversations: 1}))
	other := record.UUID{0xbb, 2}
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	none := record.UUID{0xcc, 3}
	for id, hook := range map[record.UUID]string{other: "another organisation's secret", none: ""} {
		if err := p.store.Put(t.Context(), id, record.Workspace{ID: "w" + id.String()[:2]}, set, secret.NewText("canary-token"), secret.NewText(hook)); err != nil {
			t.Fatal(err)
		}
	}
	h, srv := p.receive(intercomtest.Webhooks{})
	at := func(id string) string {
		return srv.URL + strings.Replace(webhook.Path, "{orgId}", id, 1)
	}
	good := event("n-1", "contact.created", `{"type":"contact","id":"abc"}`)
	changed := bytes.Replace(good, []byte(`"abc"`), []byte(`"abd"`), 1)
	spaced := append([]byte(" "), good...)
	foreign := []byte(`{"id":"n-9","topic":"contact.created","app_id":"somebody","data":{"item":{"type":"contact","id":"abc"}}}`)
	var bomb bytes.Buffer
	gz := gzip.NewWriter(&bomb)
	_, _ = gz.Write(make([]byte, 64<<20)) // into memory
	_ = gz.Close()
	deep := []byte(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	rows := func() int { return scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`) }
	for _, tt := range []struct {
		name, org string
		body      []byte
		header    string
		status    int
		stored    int
	}{
		{"no signature", org.String(), good, "", 401, 0},
		{"a wrong one", org.String(), good, "sha1=" + strings.Repeat("0", 40), 401, 0},
		{"a body changed by a byte", org.String(), changed, sign(good), 401, 0},
		{"an equal body, written differently", org.String(), spaced, sign(good), 401, 0},
		{"another organisation's secret", org.String(), good, webhook.Sign([]byte("another organisation's secret"), good), 401, 0},
		{"another organisation", other.String(), good, sign(good), 401, 0},
		{"an organisation that is not known", "dddddddd-0000-4000-8000-000000000001", good, sign(good), 401, 0},
		{"an organisation without a secret", none.String(), good, webhook.Sign(nil, good), 401, 0},
		{"no organisation", "00000000-0000-0000-0000-000000000000", good, webhook.Sign([]byte("there is no organisation of this id"), good), 401, 0},
		{"no UUID", "..%2F..%2Fetc", good, sign(good), 401, 0},
		{"a good one", org.String(), good, sign(good), 200, 1},
		{"the same again", org.String(), good, sign(good), 200, 0},
		{"the same for another organisation", other.String(), good, webhook.Sign([]byte("another organisation's secret"), good), 200, 1},
		{"a topic that needs no work", org.String(), event("n-2", "ping", `{}`), sign(event("n-2", "ping", `{}`)), 200, 0},
		{"another workspace's event", org.String(), foreign, sign(foreign), 200, 0},
		{"no JSON", org.String(), []byte("hello"), sign([]byte("hello")), 200, 1},
		{"a gzip bomb", org.String(), bomb.Bytes(), sign(bomb.Bytes()), 200, 1},
		{"depth 10,000", org.String(), deep, sign(deep), 200, 1},
		{"an empty body", org.String(), nil, sign(nil), 200, 1},
		{"a body over the limit", org.String(), make([]byte, webhook.MaxBody+1), sign(make([]byte, webhook.MaxBody+1)), 413, 0},
		{"an item without a contact", org.String(), event("n-3", "contact.created", `{}`), sign(event("n-3", "contact.created", `{}`)), 200, 1},
	} {
		before := rows()
		if status := post(t, srv.Client(), at(tt.org), bytes.NewReader(tt.body), tt.header); status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, status, tt.status)
		}
		if n := rows() - before; n != tt.stored {
			t.Errorf("%s: %d rows were stored, want %d", tt.name, n, tt.stored)
		}
	}
	// Chunked, and without end.
	endless := io.LimitReader(zeros{}, 1<<40)
	if status := post(t, srv.Client(), at(org.String()), endless, "sha1="+strings.Repeat("0", 40)); status != 413 {
		t.Errorf("an endless body: status %d", status)
	}
	for method, want := range map[string]int{"HEAD": 200, "GET": 405, "PUT": 405} {
		req, _ := http.NewRequestWithContext(t.Context(), method, at(org.String()), nil)
		resp, err := srv.Client().Do(req)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, %v", method, resp, err)
			continue
		}
		_ = resp.Body.Close()
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE parked_at IS NOT NULL AND error <> '' AND done_at IS NULL AND org_id = $1`, org); n != 5 {
		t.Errorf("%d deliveries are put aside, want 5", n)
	}
	want := map[string]int64{"accepted": 3, "kept": 5, "ignored": 1, "foreign": 1, "off": 0, "refused": 10, "too_large": 2, "broken": 0, "wrong_method": 2, "unavailable": 0, "checked": 1}
	if diff := cmp.Diff(want, h.Outcomes()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if _, err := p.db.Pool().Exec(t.Context(), `UPDATE ingest.connections SET ingest_enabled = false`); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // a keyring does not look more often
	before, late := rows(), event("n-4", "contact.created", `{"type":"contact","id":"abc"}`)
	_ = post(t, srv.Client(), at(org.String()), bytes.NewReader(late), "") // makes it look
	if status := post(t, srv.Client(), at(org.String()), bytes.NewReader(late), sign(late)); status != 200 || rows() != before {
		t.Errorf("ingest is off: status %d, %d rows more", status, rows()-before)
	}
	if report := p.drain(); report.Deliveries != 0 || scalar[int](p, `SELECT count(*) FROM ingest.runs`) != 0 {
		t.Errorf("ingest is off: drained %+v", report)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestASlowBodyIsGivenUpWithoutHarmToOthers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Start(t, intercomtest.Options{Conversations: 1}))
	h := webhook.New(connection.NewKeyring(p.store, slog.New(slog.DiscardHandler)), p.db, webhook.Options{ReadWithin: 200 * time.Millisecond})
	mux := http.NewServeMux()
	mux.Handle(webhook.Path, h)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(listener) }()
	t.Cleanup(func() { _ = srv.Close(); <-served; h.Close() })
	path := strings.Replace(webhook.Path, "{orgId}", org.String(), 1)
	var slow []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nX-Hub-Signature: sha1=00\r\n\r\n{", path)
		slow = append(slow, c)
	}
	body := event("n-1", "contact.created", `{"type":"contact","id":"abc"}`)
	if status := post(t, http.DefaultClient, "http://"+listener.Addr().String()+path, bytes.NewReader(body), sign(body)); status != 200 {
		t.Errorf("a good request among slow ones: %d", status)
	}
	for _, c := range slow {
		answer, err := io.ReadAll(c) // ends when the server hangs up
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Fatalf("a slow body: %q, %v", answer, err)
		}
	}
}

func TestWithoutADatabaseSendersAreAskedToComeAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Start(t, intercomtest.Options{Conversations: 1}))
	h, srv := p.receive(intercomtest.Webhooks{})
	send := func(id string) int {
		body := event(id, "contact.created", `{"type":"contact","id":"abc"}`)
		return post(t, srv.Client(), hookURL(srv.URL), bytes.NewReader(body), sign(body))
	}
	if status := send("n-1"); status != 200 {
		t.Fatalf("status %d", status)
	}
	ctx := context.WithoutCancel(t.Context())
	if _, err := p.db.Pool().Exec(ctx, `ALTER TABLE ingest.webhook_inbox RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	if status := send("n-2"); status != 503 {
		t.Errorf("status %d without an inbox", status)
	}
	if _, err := p.db.Pool().Exec(ctx, `ALTER TABLE ingest.elsewhere RENAME TO webhook_inbox`); err != nil {
		t.Fatal(err)
	}
	// The server drops all sessions, as in a restart. Nobody need notice.
	if _, err := p.db.Pool().Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	if status := send("n-2"); status != 200 {
		t.Errorf("status %d after the sessions were dropped", status)
	}
	h.Close()
	if status := send("n-3"); status != 503 {
		t.Errorf("status %d after Close", status)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`); n != 2 {
		t.Errorf("%d deliveries are there, want 2", n)
	}
}
