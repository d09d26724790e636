// Package metric is what the service tells those who run it: figures for Prometheus, a line for each request, and traces where somebody collects
// them. It reads what the parts expose as plain numbers, and gives the others small things to call; no part needs to know of Prometheus or
// OpenTelemetry, and nothing is global.
//
// Figures are of two kinds. Counters and histograms are this process's own, and are summed over processes. Gauges that are read from the database
// (inbox, queue, organisations) are the same in every process: take their maximum.
//
// No label holds what a workspace or a visitor has chosen. Organisations are a label of five gauges only, and of a limited number of them; see
// Metrics.Organisations.
package metric

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options of Metrics. The zero value works.
type Options struct {
	Version string       // of this program
	Log     *slog.Logger // for a line per request, and for what goes wrong here; nil: nothing is logged
	Tracer  *Tracer      // nil: nothing is traced
}

// Metrics are the figures of one process. They are safe for concurrent use. A nil *Metrics counts nothing: its methods give back what they were
// given, or what does nothing.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger
	tracer   *Tracer

	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	streams  prometheus.Gauge
	logins   *prometheus.CounterVec

	rows      *prometheus.CounterVec
	rejects   *prometheus.CounterVec
	commits   *prometheus.CounterVec
	toRow     prometheus.Histogram
	takeovers prometheus.Counter

	runs        *prometheus.CounterVec
	runDuration *prometheus.HistogramVec
	runsActive  *prometheus.GaugeVec

	jobDuration *prometheus.HistogramVec
	jobWait     *prometheus.HistogramVec
	jobFailures *prometheus.CounterVec
	jobsActive  *prometheus.GaugeVec

	api         *prometheus.CounterVec
	apiDuration *prometheus.HistogramVec
	throttled   prometheus.Counter
	apiInFlight prometheus.Gauge
	budgets     *budgets
}

// namespace begins every name of this program's own.
const namespace = "haloingest"

// New returns metrics with a registry of their own.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), log: o.Log, tracer: o.Tracer, budgets: newBudgets(time.Now)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	build := m.gauges("build_info", "Always 1. Which program this is.", "version", "go_version")
	build.WithLabelValues(orUnknown(o.Version), runtime.Version()).Set(1)

	m.requests = m.counters("http_requests_total", "HTTP requests that were answered.", "route", "method", "status")
	m.duration = m.histograms("http_request_duration_seconds", "How long HTTP requests took, event streams apart.",
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "route", "method")
	m.inFlight = m.gauge("http_requests_in_flight", "HTTP requests under way, event streams apart.")
	m.streams = m.gauge("http_event_streams", "Event streams that are open: pages that are watched.")
	m.logins = m.counters("login_failures_total", "Attempts to sign in that were refused.", "reason")

	m.rows = m.counters("rows_total", "What became of objects, and of rows of knowledge, that were committed.", "table", "outcome")
	m.rejects = m.counters("rejects_total", "Objects that were set aside because they could not be loaded.", "stream")
	m.commits = m.counters("commits_total", "Batches that were committed.", "stream")
	m.toRow = m.histogram("webhook_row_latency_seconds", "From when a webhook was received until what it told of was committed.",
		[]float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 4 * 3600})
	m.takeovers = m.counter("lease_takeovers_total", "Workspaces that were taken of a process that had not given them back.")

	m.runs = m.counters("runs_total", "Runs that ended.", "kind", "state")
	m.runDuration = m.histograms("run_duration_seconds", "How long runs took.",
		[]float64{.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 48 * 3600}, "kind")
	m.runsActive = m.gauges("runs_active", "Runs under way in this process.", "kind")

	m.jobDuration = m.histograms("job_duration_seconds", "How long jobs were worked on, by what became of it.",
		[]float64{.01, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}, "kind", "outcome")
	m.jobWait = m.histograms("job_wait_seconds", "How long jobs that were due waited for a worker.",
		[]float64{.01, .1, .5, 1, 2.5, 5, 15, 60, 300, 900, 3600}, "kind")
	m.jobFailures = m.counters("job_failures_total", "Attempts at jobs that failed, by the reason.", "kind", "reason")
	m.jobsActive = m.gauges("jobs_active", "Jobs that this process is working on.", "kind")

	m.api = m.counters("intercom_requests_total", "Requests to Intercom, by what was asked for and the class of the answer.", "endpoint", "status")
	m.apiDuration = m.histograms("intercom_request_duration_seconds", "From a request to Intercom until its answer begins.",
		[]float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 90}, "endpoint")
	m.throttled = m.counter("intercom_throttled_total", "Requests that Intercom refused because its rate limit was reached.")
	m.apiInFlight = m.gauge("intercom_requests_in_flight", "Requests to Intercom whose answer has not begun.")
	m.registry.MustRegister(m.budgets)
	// From the start, so that the first failure is an increase.
	for _, kind := range []string{"backfill", "sync", "refresh", "retry", "replay", "drain"} {
		for _, reason := range reasons {
			m.jobFailures.WithLabelValues(kind, reason)
		}
	}
	return m
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Handler answers with all figures, in the format that is asked for.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            complaints{m.log},
		ErrorHandling:       promhttp.ContinueOnError, // what is known is better than nothing
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
		EnableOpenMetrics:   true,
	})
}

// Gather is for tests and for whoever pushes figures.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

// complaints is where promhttp says what went wrong.
type complaints struct{ log *slog.Logger }

func (c complaints) Println(v ...any) { c.log.Warn("some metrics could not be collected", "error", v) }

// LoginFailed counts an attempt to sign in that was refused. reason is one of few words: password, rate, oidc.
func (m *Metrics) LoginFailed(reason string) {
	if m != nil {
		m.logins.WithLabelValues(reason).Inc()
	}
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}
