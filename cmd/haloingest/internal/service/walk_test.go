package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access/accesstest"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// Every route that is served, as everybody who may come; the second organisation's name is a canary that no one of the first may get to see.
func TestNoRouteGivesAnybodyMoreThanItsPolicySays(t *testing.T) {
	t.Parallel()
	const canary = "canary workspace of others"
	own, other := record.UUID{0xaa, 7}, record.UUID{0xbb, 7}
	s := &service{Config: Config{Database: pgtest.New(t), Master: secret.MasterKey{DataDir: t.TempDir()}, Listen: "127.0.0.1:0", MetricsToken: secret.NewText("canary-metrics-token")}, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(s.close)
	if err := s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	for id, name := range map[record.UUID]string{own: "ours", other: canary} {
		store := connection.NewStore(s.db.Pool(), s.Master)
		if err := store.Put(context.Background(), id, record.Workspace{ID: id.String()[:8], Name: name}, set, secret.NewText("canary-token-0001"), secret.NewText("canary-webhook")); err != nil {
			t.Fatal(err)
		}
	}
	accesstest.Walk(t, accesstest.World{Gate: s.gate, Routes: s.routes, Scraper: "canary-metrics-token", Own: own, Other: other, Canary: canary})
}

// An event stream outlasts the time that every other answer has, and a body that is read late outlasts its own.
func TestAnEventStreamOutlastsTheTimeOfAnAnswer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		control := http.NewResponseController(w)
		for range 5 {
			_, _ = w.Write([]byte("data: x\n\n")) // the client says what came
			_ = control.Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})))
	srv.Config.WriteTimeout = 150 * time.Millisecond
	srv.Start()
	defer srv.Close()
	for path, whole := range map[string]bool{"/events": true, "/page": false} {
		resp, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var b [200]byte
		n, rerr := 0, error(nil)
		for rerr == nil {
			var k int
			k, rerr = resp.Body.Read(b[n:])
			n += k
		}
		_ = resp.Body.Close()
		if got := n == 45; got != whole {
			t.Errorf("%s: %d bytes came, %v", path, n, rerr)
		}
	}
}
