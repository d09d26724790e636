package metric

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river/rivertype"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// Jobs is for work.Options.Watch: it counts, times and traces jobs. What a job ends with and what the queue is told are two things: a token that
// is refused is no failed attempt to the queue, which waits for another one.
func (m *Metrics) Jobs() func(ctx context.Context, job *rivertype.JobRow) (context.Context, func(err, verdict error)) {
	if m == nil {
		return nil
	}
	return func(ctx context.Context, job *rivertype.JobRow) (context.Context, func(err, verdict error)) {
		began := time.Now()
		m.jobWait.WithLabelValues(job.Kind).Observe(max(0, began.Sub(job.ScheduledAt).Seconds()))
		active := m.jobsActive.WithLabelValues(job.Kind)
		active.Inc()
		ctx, span := m.tracer.job(ctx, job)
		return ctx, func(err, verdict error) {
			active.Dec()
			outcome := outcomeOf(verdict)
			m.jobDuration.WithLabelValues(job.Kind, outcome).Observe(time.Since(began).Seconds())
			// What is put back for a reason that nobody knows here was asked to wait.
			if reason, bad := reasonOf(err); bad && (outcome != "put_back" || reason != "other") {
				m.jobFailures.WithLabelValues(job.Kind, reason).Inc()
			}
			span.end(err)
		}
	}
}

func outcomeOf(verdict error) string {
	var snooze *rivertype.JobSnoozeError
	var cancel *rivertype.JobCancelError
	switch {
	case verdict == nil:
		return "completed"
	case errors.As(verdict, &snooze):
		return "put_back"
	case errors.As(verdict, &cancel):
		return "cancelled"
	}
	return "failed"
}

// Reasons for which jobs fail, as far as somebody would do something else about them.
var reasons = []string{"token_refused", "permission_missing", "intercom", "database", "secret", "invariant", "other"}

// reasonOf says why a job failed; false where it did not: it is done, was asked to stop, or found its workspace held by another run.
func reasonOf(err error) (string, bool) {
	class, api := intercom.ClassOf(err)
	switch {
	case err == nil, errors.Is(err, pipeline.ErrStopped), errors.Is(err, context.Canceled), errors.Is(err, postgres.ErrHeld), errors.Is(err, postgres.ErrFenced),
		errors.Is(err, connection.ErrNotConnected):
		return "", false
	case errors.Is(err, secret.ErrMasterKey):
		return "secret", true
	case errors.Is(err, postgres.ErrInvariant):
		return "invariant", true
	case errors.Is(err, postgres.ErrDatabase):
		return "database", true
	case api && class == intercom.ClassStop:
		return "token_refused", true
	case api && class == intercom.ClassScope:
		return "permission_missing", true
	case api:
		return "intercom", true
	}
	return "other", true
}
