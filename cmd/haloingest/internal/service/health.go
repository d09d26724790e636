package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/postgres"
)

// alive answers that the process is there. It asks nobody.
func alive(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // who has gone away need not be told
}

// unready is why nothing can be worked on, in words that anybody may read.
type unready struct{ why string }

func (e *unready) Error() string { return e.why }

var (
	errStarting = &unready{"starting"}
	errStopping = &unready{"stopping"}
)

// told is what anybody may read of err: where the database and the master key are is for the log.
func told(err error) string {
	var known *unready
	switch {
	case errors.As(err, &known):
		return known.why
	case errors.Is(err, secret.ErrMasterKey):
		return "the master key does not open the secrets of this database; the log says more"
	case errors.Is(err, postgres.ErrDatabase), postgres.Transient(err), errors.Is(err, context.DeadlineExceeded):
		return "the database cannot be reached"
	}
	return "a part of the service does not work; the log says more"
}

// readiness knows whether requests can be worked on. It is safe for concurrent use. Anybody may ask, so the database is asked once in a while only.
type readiness struct {
	check func(ctx context.Context) error
	log   *slog.Logger
	phase atomic.Value // phase

	mu  sync.Mutex // held while the parts are asked
	at  time.Time
	err error
}

// phase is errStarting, errStopping, or nil between the two.
type phase struct{ error }

const (
	readyLasts  = time.Second
	readyWithin = 3 * time.Second
)

func newReadiness(check func(ctx context.Context) error, log *slog.Logger) *readiness {
	r := &readiness{check: check, log: log}
	r.enter(errStarting)
	return r
}

// enter begins a phase; nil is the one in which the parts are asked.
func (r *readiness) enter(err error) { r.phase.Store(phase{err}) }

func (r *readiness) now() error { return r.phase.Load().(phase).error }

// look is nil if the service is ready, and else why it is not.
func (r *readiness) look(ctx context.Context) error {
	if err := r.now(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > readyLasts {
		// Not the request's context: the others wait for this one.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
		defer cancel()
		err := r.check(ctx)
		if err != nil && (r.err == nil || told(r.err) != told(err)) { // once, and not whenever somebody asks
			r.log.Error("not ready", "error", err)
		}
		r.err, r.at = err, time.Now()
	}
	if err := r.now(); err != nil {
		return err
	}
	return r.err
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if err := r.look(q.Context()); err != nil {
		say(w, http.StatusServiceUnavailable, "not ready: "+told(err))
		return
	}
	say(w, http.StatusOK, "ready")
}
