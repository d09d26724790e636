package metric_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"haloingest/cmd/haloingest/internal/service/metric"
)

// lines are what was logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) log(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

const someOrg = "aaaaaaaa-0000-4000-8000-000000000001"

// house is a server as the service has it: the middleware stands outside, and routes note who came.
func house(t *testing.T, m *metric.Metrics) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /integrations/intercom/{orgId}", func(w http.ResponseWriter, r *http.Request) {
		metric.Note(r.Context(), "", "user-7")
		_, _ = io.WriteString(w, "hello")
	})
	mux.HandleFunc("GET /setup/{token}", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "gone", http.StatusGone) })
	mux.HandleFunc("POST /api/integrations/intercom/webhook/{orgId}", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("POST /broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush an event: %v", err)
		}
		<-r.Context().Done()
	})
	srv := httptest.NewServer(m.Middleware("", mux))
	t.Cleanup(srv.Close)
	return srv
}

func ask(t *testing.T, method, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// figure is the value of one series, or false.
func figure(t *testing.T, m *metric.Metrics, name string, labels map[string]string) (float64, bool) {
	t.Helper()
	families, err := m.Gather().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, s := range f.GetMetric() {
			found := map[string]string{}
			for _, l := range s.GetLabel() {
				found[l.GetName()] = l.GetValue()
			}
			for k, v := range labels {
				if found[k] != v {
					continue series
				}
			}
			switch {
			case s.Counter != nil:
				return s.Counter.GetValue(), true
			case s.Gauge != nil:
				return s.Gauge.GetValue(), true
			case s.Histogram != nil:
				return float64(s.Histogram.GetSampleCount()), true
			}
		}
	}
	return 0, false
}

func want(t *testing.T, m *metric.Metrics, name string, labels map[string]string, value float64) {
	t.Helper()
	if got, ok := figure(t, m, name, labels); !ok || got != value {
		t.Errorf("%s%v is %v (there: %v), want %v", name, labels, got, ok, value)
	}
}

// eventually waits for what another goroutine does soon.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestRequestsAreCountedByTheirRouteAndNeverByTheirPath(t *testing.T) {
	var out lines
	m := metric.New(metric.Options{Log: out.log(slog.LevelDebug)})
	srv := house(t, m)
	for range 3 {
		ask(t, "GET", srv.URL+"/integrations/intercom/"+someOrg+"?secret=in-the-query")
	}
	ask(t, "GET", srv.URL+"/setup/one-time-token-of-the-admin")
	ask(t, "GET", srv.URL+"/somewhere/nobody/serves")
	ask(t, "BREW", srv.URL+"/integrations/intercom/"+someOrg)
	ask(t, "POST", srv.URL+"/broken")
	ask(t, "GET", srv.URL+"/fails")
	ask(t, "GET", srv.URL+"/")
	eventually(t, "all requests are counted", func() bool {
		broken, _ := figure(t, m, "haloingest_http_requests_total", map[string]string{"route": "/broken"})
		first, _ := figure(t, m, "haloingest_http_requests_total", map[string]string{"route": "/", "status": "200"})
		return broken == 1 && first == 1
	})
	route := "/integrations/intercom/{orgId}"
	want(t, m, "haloingest_http_requests_total", map[string]string{"route": route, "method": "GET", "status": "200"}, 3)
	want(t, m, "haloingest_http_request_duration_seconds", map[string]string{"route": route, "method": "GET"}, 3)
	want(t, m, "haloingest_http_requests_total", map[string]string{"route": "/setup/{token}", "status": "410"}, 1)
	want(t, m, "haloingest_http_requests_total", map[string]string{"route": "none", "method": "GET", "status": "404"}, 1)
	want(t, m, "haloingest_http_requests_total", map[string]string{"route": "none", "method": "other", "status": "405"}, 1)
	want(t, m, "haloingest_http_requests_total", map[string]string{"route": "/broken", "status": "500"}, 1)
	want(t, m, "haloingest_http_requests_in_flight", nil, 0)
	for _, shown := range []string{"in-the-query", "one-time-token", "nobody/serves"} {
		if strings.Contains(out.text(), shown) {
			t.Errorf("the log shows %q", shown)
		}
	}
}

func TestARequestIsOneLineOfTheLog(t *testing.T) {
	var out lines
	m := metric.New(metric.Options{Log: out.log(slog.LevelInfo)})
	srv := house(t, m)
	ask(t, "GET", srv.URL+"/healthz")
	ask(t, "POST", srv.URL+"/api/integrations/intercom/webhook/"+someOrg)
	ask(t, "GET", srv.URL+"/somewhere")
	ask(t, "GET", srv.URL+"/integrations/intercom/"+someOrg)
	ask(t, "GET", srv.URL+"/fails")
	eventually(t, "both lines are there", func() bool { return strings.Count(out.text(), "\n") >= 2 })
	text := strings.TrimSpace(out.text())
	list := strings.Split(text, "\n")
	if len(list) != 2 { // what comes often and went well, and what is not there, is for those who look for it
		t.Fatalf("%d lines, want 2:\n%s", len(list), text)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(list[0]), &got); err != nil {
		t.Fatal(err)
	}
	if s, ok := got["seconds"].(float64); !ok || s < 0 || s > 30 {
		t.Errorf("seconds: %v", got["seconds"])
	}
	delete(got, "seconds")
	delete(got, "time")
	if diff := cmp.Diff(map[string]any{
		"level": "INFO", "msg": "answered a request", "method": "GET", "route": "/integrations/intercom/{orgId}", "status": float64(200),
		"bytes": float64(5), "remote": "127.0.0.1", "org": someOrg, "user": "user-7",
	}, got); diff != "" {
		t.Errorf("the line (-want +got):\n%s", diff)
	}
	if !strings.Contains(list[1], `"level":"ERROR"`) || !strings.Contains(list[1], `"status":500`) {
		t.Errorf("a failure is logged as %s", list[1])
	}
}

func TestAnEventStreamIsAWatcherAndNoSlowRequest(t *testing.T) {
	m := metric.New(metric.Options{})
	srv := house(t, m)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("event %q, %v", line, err)
	}
	want(t, m, "haloingest_http_event_streams", nil, 1)
	want(t, m, "haloingest_http_requests_in_flight", nil, 0)
	leave()
	eventually(t, "nobody watches any more", func() bool { n, _ := figure(t, m, "haloingest_http_event_streams", nil); return n == 0 })
	eventually(t, "the request is counted", func() bool {
		n, _ := figure(t, m, "haloingest_http_requests_total", map[string]string{"route": "/live"})
		return n == 1
	})
	if n, ok := figure(t, m, "haloingest_http_request_duration_seconds", map[string]string{"route": "/live"}); ok {
		t.Errorf("%v durations of event streams", n)
	}
}

func TestWithoutMetricsNothingIsInTheWay(t *testing.T) {
	var m *metric.Metrics
	h := http.NotFoundHandler()
	if got := m.Middleware("/x", h); got == nil {
		t.Error("no handler")
	}
	if got := m.Transport(http.DefaultTransport); got != http.DefaultTransport {
		t.Error("another transport")
	}
	if m.Watch() != nil || m.Jobs() != nil || m.Observer().Committed != nil || m.Observer().TakenOver != nil {
		t.Error("somebody listens")
	}
	m.Pool("", nil)
	m.Database(nil, metric.DatabaseOptions{})
	m.Webhooks(nil)
	var tracer *metric.Tracer
	if tracer.Queries() != nil {
		t.Error("statements are traced")
	}
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreNamedAsIsTheHabit(t *testing.T) {
	problems, err := testutil.GatherAndLint(exercised(t).Gather())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
