package metric

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Webhooks reads the counts of a webhook.Handler, by outcome.
func (m *Metrics) Webhooks(outcomes func() map[string]int64) {
	if m == nil {
		return
	}
	m.registry.MustRegister(webhooks{outcomes, prometheus.NewDesc(namespace+"_webhooks_total",
		"Deliveries to the webhook address, by what became of them; duplicates are among the accepted.", []string{"outcome"}, nil)})
}

type webhooks struct {
	outcomes func() map[string]int64
	desc     *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (w webhooks) Describe(out chan<- *prometheus.Desc) { out <- w.desc }

// Collect implements prometheus.Collector.
func (w webhooks) Collect(out chan<- prometheus.Metric) {
	for outcome, n := range w.outcomes() {
		out <- prometheus.MustNewConstMetric(w.desc, prometheus.CounterValue, float64(n), outcome)
	}
}

// Pool reads the figures of a connection pool, which is told from others by its name.
func (m *Metrics) Pool(name string, stat func() *pgxpool.Stat) {
	if m == nil {
		return
	}
	desc := func(metric, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_db_pool_"+metric, help, labels, prometheus.Labels{"pool": name})
	}
	m.registry.MustRegister(pool{stat, desc("connections", "Connections to the database.", "state"), desc("max_connections", "Connections that there may be."),
		desc("acquires_total", "Connections that were taken from the pool."), desc("acquire_waits_total", "Of those: that had to be waited for."),
		desc("acquire_wait_seconds_total", "How long connections that were taken have been waited for."),
		desc("acquires_canceled_total", "Connections that nobody wanted any more before there was one.")})
}

type pool struct {
	stat                                                func() *pgxpool.Stat
	connections, most, acquires, waits, waited, givenUp *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (p pool) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.connections, p.most, p.acquires, p.waits, p.waited, p.givenUp} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p pool) Collect(out chan<- prometheus.Metric) {
	s := p.stat()
	gauge := func(d *prometheus.Desc, n int32, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counter := func(d *prometheus.Desc, n float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n)
	}
	gauge(p.connections, s.AcquiredConns(), "in_use")
	gauge(p.connections, s.IdleConns(), "idle")
	gauge(p.connections, s.ConstructingConns(), "opening")
	gauge(p.most, s.MaxConns())
	counter(p.acquires, float64(s.AcquireCount()))
	counter(p.waits, float64(s.EmptyAcquireCount()))
	counter(p.waited, s.EmptyAcquireWaitTime().Seconds())
	counter(p.givenUp, float64(s.CanceledAcquireCount()))
}
