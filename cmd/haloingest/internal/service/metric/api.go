package metric

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"haloingest/sources/intercom"
)

// Transport is for intercom.Options.Wrap: it counts, times and traces the requests of one client. Endpoints are known by their pattern; a path
// is never shown.
func (m *Metrics) Transport(base http.RoundTripper) http.RoundTripper {
	if m == nil {
		return base
	}
	return &transport{m: m, base: m.tracer.transport(base)}
}

type transport struct {
	m    *Metrics
	base http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	endpoint := intercom.Endpoint(r)
	if endpoint == "" {
		endpoint = "other"
	}
	t.m.apiInFlight.Inc()
	began := time.Now()
	response, err := t.base.RoundTrip(r)
	t.m.apiDuration.WithLabelValues(endpoint).Observe(time.Since(began).Seconds())
	t.m.apiInFlight.Dec()
	t.m.api.WithLabelValues(endpoint, classOf(response, err)).Inc()
	if err == nil {
		if response.StatusCode == http.StatusTooManyRequests {
			t.m.throttled.Inc()
		}
		t.m.budgets.told(t, response.Header)
	}
	return response, err
}

// CloseIdleConnections is called when the client is closed.
func (t *transport) CloseIdleConnections() {
	t.m.budgets.forget(t)
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func classOf(response *http.Response, err error) string {
	switch {
	case err != nil:
		return "none" // no answer
	case response.StatusCode == http.StatusTooManyRequests:
		return "429"
	}
	return strconv.Itoa(response.StatusCode/100) + "xx"
}

// budgets is how much of their budget the workspaces have used that requests are made to. Intercom tells it with each answer: X-RateLimit-Limit,
// of the present window, X-RateLimit-Remaining and X-RateLimit-Reset (fact sheet, section 3).
type budgets struct {
	now  func() time.Time
	desc *prometheus.Desc

	mu   sync.Mutex
	used map[*transport]share
}

type share struct {
	used float64
	at   time.Time
}

// budgetLasts is how long an answer says something: Intercom's windows are of ten seconds, and its limit is told by the minute.
const budgetLasts = time.Minute

func newBudgets(now func() time.Time) *budgets {
	return &budgets{now: now, used: make(map[*transport]share), desc: prometheus.NewDesc(namespace+"_intercom_budget_used_ratio",
		"Share of the present window's requests that is used up, by us and others, of the workspace where it is most.", nil, nil)}
}

func (b *budgets) told(t *transport, h http.Header) {
	limit, err1 := strconv.ParseFloat(h.Get("X-RateLimit-Limit"), 64)
	left, err2 := strconv.ParseFloat(h.Get("X-RateLimit-Remaining"), 64)
	if err1 != nil || err2 != nil || !(limit > 0) || !(left >= 0) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used[t] = share{max(0, 1-left/limit), b.now()}
}

func (b *budgets) forget(t *transport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.used, t)
}

// Describe implements prometheus.Collector.
func (b *budgets) Describe(out chan<- *prometheus.Desc) { out <- b.desc }

// Collect implements prometheus.Collector.
func (b *budgets) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := 0.0
	for _, s := range b.used {
		if b.now().Sub(s.at) < budgetLasts {
			most = max(most, s.used)
		}
	}
	out <- prometheus.MustNewConstMetric(b.desc, prometheus.GaugeValue, most)
}
