package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// alive answers that the process is there. It asks nobody.
func alive(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // who has gone away need not be told
}

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping")
)

// readiness knows whether requests can be worked on. It is safe for concurrent use. Anybody may ask, so the database is asked once in a while only.
type readiness struct {
	check func(ctx context.Context) error
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

func newReadiness(check func(ctx context.Context) error) *readiness {
	r := &readiness{check: check}
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
		r.err = r.check(ctx)
		r.at = time.Now()
	}
	if err := r.now(); err != nil {
		return err
	}
	return r.err
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if err := r.look(q.Context()); err != nil {
		say(w, http.StatusServiceUnavailable, fmt.Sprintf("not ready: %v", err))
		return
	}
	say(w, http.StatusOK, "ready")
}
