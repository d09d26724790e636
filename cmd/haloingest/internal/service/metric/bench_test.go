package metric_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// cost is what something took of time, and of this process's processor.
type cost struct{ wall, cpu time.Duration }

func costOf(b *testing.B, f func()) cost {
	b.Helper()
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	cpu, began := used(), time.Now()
	f()
	return cost{time.Since(began), used() - cpu}
}

// compare does the same without and with metrics, turn by turn, so that what else the machine does hits both, and reports the ratios of the
// medians: of 1.02 the figures cost 2 %.
func compare(b *testing.B, turns int, round func(m *metric.Metrics)) {
	b.Helper()
	var with, without []cost
	for b.Loop() {
		for range turns {
			without = append(without, costOf(b, func() { round(nil) }))
			with = append(with, costOf(b, func() { round(metric.New(metric.Options{Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})) }))
		}
	}
	median := func(list []cost, of func(cost) time.Duration) float64 {
		values := make([]float64, len(list))
		for i, c := range list {
			values[i] = of(c).Seconds()
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cpu, wall := func(c cost) time.Duration { return c.cpu }, func(c cost) time.Duration { return c.wall }
	b.ReportMetric(median(with, cpu)/median(without, cpu), "cpu-ratio")
	b.ReportMetric(median(with, wall)/median(without, wall), "wall-ratio")
	b.ReportMetric(median(without, wall)*1000, "ms-without")
}

// BenchmarkCostAtWebhooks accepts 4,000 deliveries over HTTP from 32 clients, with their figures and the request log.
func BenchmarkCostAtWebhooks(b *testing.B) {
	const deliveries, key = 4000, "a secret of the webhooks"
	db, err := postgres.Open(context.Background(), pgtest.New(b), postgres.Options{MaxConns: 8})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Close)
	if _, err := db.Migrate(context.Background()); err != nil {
		b.Fatal(err)
	}
	store := connection.NewStore(db.Pool(), secret.MasterKey{DataDir: b.TempDir()})
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	if err := store.Put(context.Background(), orgN(1), record.Workspace{ID: "w", Region: "us"}, set, secret.NewText("token"), secret.NewText(key)); err != nil {
		b.Fatal(err)
	}
	var sent atomic.Int64
	compare(b, 5, func(m *metric.Metrics) {
		h := webhook.New(connection.NewKeyring(store, slog.New(slog.DiscardHandler)), db, webhook.Options{})
		mux := http.NewServeMux()
		mux.Handle(webhook.Path, h)
		srv := httptest.NewServer(m.Middleware("", mux))
		defer h.Close()
		defer srv.Close()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
		defer client.CloseIdleConnections()
		url := srv.URL + "/api/integrations/intercom/webhook/" + orgN(1).String()
		var next atomic.Int64
		var crew sync.WaitGroup
		for range 32 {
			crew.Go(func() {
				for next.Add(1) <= deliveries {
					body := fmt.Appendf(nil, `{"type":"notification_event","app_id":"w","id":"n-%d","topic":"conversation.user.replied","data":{"item":{"type":"conversation","id":"7","body":%q}}}`,
						sent.Add(1), bytes.Repeat([]byte("x"), 3000))
					mac := hmac.New(sha1.New, []byte(key))
					mac.Write(body)
					r, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
					r.Header.Set(webhook.SignatureHeader, "sha1="+hex.EncodeToString(mac.Sum(nil)))
					response, err := client.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					response.Body.Close()
					if response.StatusCode != http.StatusOK {
						b.Errorf("status %d", response.StatusCode)
					}
				}
			})
		}
		crew.Wait()
	})
}

// BenchmarkCostAtABackfill reads a workspace of 3,000 conversations into an empty database; the workspace is simulated by this process.
func BenchmarkCostAtABackfill(b *testing.B) {
	sim := intercomtest.Start(b, intercomtest.Options{Conversations: 3000, Contacts: 600, Companies: 60, Tickets: 300})
	compare(b, 3, func(m *metric.Metrics) {
		ctx := context.Background()
		db, err := postgres.Open(ctx, pgtest.New(b), postgres.Options{MaxConns: 8, Observer: m.Observer()})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Migrate(ctx); err != nil {
			b.Fatal(err)
		}
		client, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL, Wrap: m.Transport})
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		runner := &ingest.Runner{
			DB: db, Client: client, Log: slog.New(slog.DiscardHandler), Holder: "benchmark", Concurrency: 16, Watch: m.Watch(),
			Connection: connection.Connection{Org: orgN(1), UserIDField: "external_id", CompanyIDField: "company_id"},
		}
		run, err := runner.Start(ctx, ingest.Request{Kind: ingest.KindBackfill})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := run.Do(ctx, ctx); err != nil {
			b.Fatal(err)
		}
		if err := run.Close(ctx); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkRequest is what one request costs more, alone.
func BenchmarkRequest(b *testing.B) {
	nothing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	r := httptest.NewRequest("POST", "/api/integrations/intercom/webhook/x", nil)
	for name, h := range map[string]http.Handler{"without": nothing, "with": metric.New(metric.Options{}).Middleware(webhook.Path, nothing)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			w := httptest.NewRecorder()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
