package metric

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
)

// Observer is for postgres.Options: it counts what is committed, and workspaces that are taken over.
func (m *Metrics) Observer() postgres.Observer {
	if m == nil {
		return postgres.Observer{}
	}
	return postgres.Observer{Committed: m.committed, TakenOver: m.takeovers.Inc}
}

func (m *Metrics) committed(c postgres.Committed) {
	m.commits.WithLabelValues(c.Stream).Inc()
	if c.Rejects > 0 {
		m.rejects.WithLabelValues(c.Stream).Add(float64(c.Rejects))
	}
	for name, n := range c.Counts {
		if table, outcome, ok := loaded(name); ok {
			m.rows.WithLabelValues(table, outcome).Add(float64(n))
		}
	}
	for _, d := range c.Waited {
		m.toRow.Observe(d.Seconds())
	}
}

// loaded reads the name of a count of postgres.Sink's.
func loaded(name string) (table, outcome string, ok bool) {
	rest, ok := strings.CutPrefix(name, "load/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// Watch is for ingest.Runner: it counts and times runs, and traces them and their streams.
func (m *Metrics) Watch() ingest.Watch {
	if m == nil {
		return nil
	}
	return func(ctx context.Context, part ingest.Part) (context.Context, func(postgres.RunState, error)) {
		ctx, span := m.tracer.part(ctx, part)
		if part.Stream != "" {
			return ctx, func(_ postgres.RunState, err error) { span.end(err) }
		}
		began := time.Now()
		m.runsActive.WithLabelValues(part.Kind).Inc()
		return ctx, func(state postgres.RunState, err error) {
			took := time.Since(began)
			m.runsActive.WithLabelValues(part.Kind).Dec()
			m.runs.WithLabelValues(part.Kind, string(state)).Inc()
			m.runDuration.WithLabelValues(part.Kind).Observe(took.Seconds())
			span.end(err)
			level := slog.LevelInfo
			if part.Kind == ingest.KindWebhook && err == nil {
				level = slog.LevelDebug // they come by the second
			}
			m.log.LogAttrs(ctx, level, "a run has ended", slog.String("org", part.Org.String()), slog.String("run", part.Run.String()),
				slog.String("kind", part.Kind), slog.String("state", string(state)), slog.Float64("seconds", took.Seconds()))
		}
	}
}
