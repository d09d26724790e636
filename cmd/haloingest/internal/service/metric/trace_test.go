package metric_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// receiver is a collector: it takes OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	raw   bytes.Buffer // all that came
	spans map[string]*otlp.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{spans: make(map[string]*otlp.Span)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s of %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unpacked
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
			return
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &request); err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(b)
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					c.spans[string(s.GetSpanId())] = s
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// path is the names of a span and of those above it, from the top.
func (c *receiver) path(s *otlp.Span) string {
	names := s.GetName()
	for len(s.GetParentSpanId()) > 0 {
		above, ok := c.spans[string(s.GetParentSpanId())]
		if !ok {
			return "(nothing) > " + names
		}
		s = above
		names = s.GetName() + " > " + names
	}
	return names
}

func attribute(s *otlp.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			if text := a.GetValue().GetStringValue(); text != "" {
				return text
			}
			return fmt.Sprint(a.GetValue().GetIntValue())
		}
	}
	return ""
}

const secretToken = "dG9rOnRva2VuLXRoYXQtbm9ib2R5LXNob3dz"

// syncing is a simulated workspace that a worker works on, watched by m and tracer.
type syncing struct {
	sim    *intercomtest.Server
	db     *postgres.DB
	org    record.UUID
	worker *work.Worker
}

func newSyncing(t *testing.T, m *metric.Metrics, tracer *metric.Tracer) *syncing {
	t.Helper()
	ctx := context.Background()
	s := &syncing{org: orgN(1), sim: intercomtest.Start(t, intercomtest.Options{Conversations: 60, Contacts: 30, Companies: 5, Tickets: 10, Token: secretToken, Oddities: -1})}
	s.db = openDatabase(t, postgres.Options{MaxConns: 40, Tracer: tracer.Queries(), Observer: m.Observer()})
	store := connection.NewStore(s.db.Pool(), secret.MasterKey{DataDir: t.TempDir()})
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	if err := store.Put(ctx, s.org, record.Workspace{ID: s.sim.Options().AppID, Region: "us"}, set, secret.NewText(secretToken), secret.NewText("a webhook secret")); err != nil {
		t.Fatal(err)
	}
	var err error
	s.worker, err = work.New(work.Options{
		DB: s.db, Connections: store, Watch: m.Jobs(),
		Client: func(region string, token secret.Text) (*intercom.Client, error) {
			return intercom.New(region, token.Reveal(), intercom.Options{BaseURL: s.sim.URL, Wrap: m.Transport})
		},
		Prepare: func(r *ingest.Runner) error {
			r.Watch = m.Watch()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// backfill has the worker make a backfill, and stops it when that is done.
func (s *syncing) backfill(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	read, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.worker.Run(ctx, read) }()
	if err := s.worker.Queue().Backfill(ctx, nil, s.org, work.BackfillOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backfill is complete", func() bool {
		status, err := s.db.Status(ctx, s.org)
		if err != nil {
			t.Fatal(err)
		}
		return !status.LastSyncedAt.IsZero()
	})
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestABackfillIsOneTraceFromItsJobToItsRequestsAndStatements(t *testing.T) {
	c := newReceiver(t)
	tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{Endpoint: c.URL, Version: "1.2.3", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m := metric.New(metric.Options{Tracer: tracer})
	s := newSyncing(t, m, tracer)
	s.backfill(t)
	// A page that is looked at is a trace of its own.
	house := house(t, m)
	ask(t, "GET", house.URL+"/setup/one-time-token-of-the-admin?x=in-the-query")
	ask(t, "GET", house.URL+"/healthz")
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	traces := map[string]bool{}
	paths := map[string]int{}
	for _, span := range c.spans {
		path := c.path(span)
		paths[path]++
		switch top, _, _ := strings.Cut(path, " > "); top {
		case "job backfill":
			traces[hex.EncodeToString(span.GetTraceId())] = true
		case "GET /setup/{token}", "job drain", "job sync", "job refresh":
		default:
			t.Errorf("a span begins with %q, want a job or a request: %s", top, path)
		}
		if span.GetEndTimeUnixNano() < span.GetStartTimeUnixNano() || span.GetStartTimeUnixNano() == 0 {
			t.Errorf("%s has no time", path)
		}
	}
	if len(traces) != 1 {
		t.Errorf("the backfill is %d traces, want 1", len(traces))
	}
	stream := "job backfill > run backfill > stream conversations"
	for _, path := range []string{
		"job backfill", "job backfill > run backfill", stream, "job backfill > run backfill > stream contacts",
		stream + " > GET /conversations/{id}", stream + " > transaction", stream + " > transaction > SELECT", stream + " > transaction > UPDATE",
		"GET /setup/{token}",
	} {
		if paths[path] == 0 {
			t.Errorf("there is no %q", path)
		}
	}
	if n := paths[stream+" > GET /conversations/{id}"]; n < 60 {
		t.Errorf("%d reads of conversations are in the trace, want 60", n)
	}
	if t.Failed() {
		for path, n := range paths {
			t.Log(n, path)
		}
	}
	for _, span := range c.spans {
		switch span.GetName() {
		case "run backfill":
			if attribute(span, "haloingest.org") != s.org.String() || attribute(span, "haloingest.run") == "" {
				t.Errorf("the run is not named: %v", span)
			}
		case "GET /conversations/{id}":
			if attribute(span, "http.response.status_code") != "200" || attribute(span, "url.template") != "/conversations/{id}" {
				t.Errorf("a request has %v", span.GetAttributes())
			}
		}
	}
	sent := c.raw.String()
	for what, text := range map[string]string{
		"the token": secretToken, "Authorization": "Bearer", "the link's token": "one-time-token", "a query": "in-the-query", "the webhook secret": "a webhook secret",
	} {
		if strings.Contains(sent, text) {
			t.Errorf("the collector is told %s", what)
		}
	}
	people := 0
	for contact := range s.sim.Ledger().Contacts() {
		if contact.Email == "" {
			continue
		}
		people++
		if strings.Contains(sent, contact.Email) {
			t.Errorf("the collector is told of %s", contact.Email)
		}
	}
	if people == 0 {
		t.Error("nobody has an e-mail address that could be told")
	}
}

func TestWithoutAnEndpointNothingIsTraced(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{})
	if err != nil || tracer != nil {
		t.Errorf("tracing without an endpoint gives %v, %v", tracer, err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{}); err != nil || tracer != nil {
		t.Errorf("tracing that is turned off gives %v, %v", tracer, err)
	}
}

func TestTheEndpointMayComeFromTheEnvironment(t *testing.T) {
	c := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	srv := house(t, metric.New(metric.Options{Tracer: tracer}))
	ask(t, "GET", srv.URL+"/integrations/intercom/"+someOrg)
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 1 {
		t.Errorf("%d spans, want 1", len(c.spans))
	}
	if sent := c.raw.String(); strings.Contains(sent, someOrg) {
		t.Error("the collector is told a path")
	}
}

func TestACollectorThatIsAwayIsToldOfOnce(t *testing.T) {
	var out lines
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	dead := httptest.NewServer(http.NotFoundHandler())
	tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{Endpoint: dead.URL, Log: out.log(slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	srv := house(t, metric.New(metric.Options{Tracer: tracer}))
	for range 5 {
		ask(t, "GET", srv.URL+"/integrations/intercom/"+someOrg)
		eventually(t, "it is told", func() bool { return strings.Contains(out.text(), "traces cannot be sent") })
	}
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.text(), "\n"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, out.text())
	}
}

func TestEndpointsThatCannotBeUsedAreRefused(t *testing.T) {
	for _, endpoint := range []string{"localhost:4318", "ftp://host", "http://", "https://user:pass@host", "http://host/?token=x", "::"} {
		tracer, err := metric.Tracing(t.Context(), metric.TracingOptions{Endpoint: endpoint})
		if err == nil || tracer != nil {
			t.Errorf("%q is taken", endpoint)
		} else if strings.Contains(err.Error(), "pass") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
