package service

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"haloingest/pipeline/record"
)

// herald tells the queue which inboxes have something new. Deliveries are committed many times a second, and one job does for all that an
// organisation has waiting: so what comes meanwhile is told together. What it has not told when the process dies is found by the workers,
// who look at all inboxes from time to time.
type herald struct {
	drain func(ctx context.Context, orgs ...record.UUID) error
	log   *slog.Logger

	mu   sync.Mutex
	orgs map[record.UUID]bool
	news chan struct{} // holds one
}

const (
	heraldPause  = 50 * time.Millisecond // between two tellings
	heraldAgain  = time.Second           // after one that failed
	heraldWithin = 5 * time.Second       // for one
)

func newHerald(drain func(ctx context.Context, orgs ...record.UUID) error, log *slog.Logger) *herald {
	return &herald{drain: drain, log: log, orgs: make(map[record.UUID]bool), news: make(chan struct{}, 1)}
}

// stored is for webhook.Options.Stored. It never waits.
func (h *herald) stored(orgs []record.UUID) {
	h.mu.Lock()
	for _, org := range orgs {
		h.orgs[org] = true
	}
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// run tells until stop is done, and then once more.
func (h *herald) run(stop context.Context) {
	failing := false
	for stop.Err() == nil {
		select {
		case <-h.news:
		case <-stop.Done():
		}
		err := h.tell()
		pause := heraldPause
		if err != nil {
			pause = heraldAgain
			if !failing { // once for each time that the database goes away
				h.log.Warn("webhooks are stored, but the queue cannot be told of them yet", "error", err)
			}
		}
		failing = err != nil
		select {
		case <-time.After(pause):
		case <-stop.Done():
		}
	}
	_ = h.tell() // if this fails, the workers find what is waiting
}

// tell tells of all that is new; with an error, it stays new.
func (h *herald) tell() error {
	h.mu.Lock()
	orgs := slices.Collect(maps.Keys(h.orgs))
	clear(h.orgs)
	h.mu.Unlock()
	if len(orgs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), heraldWithin)
	defer cancel()
	err := h.drain(ctx, orgs...)
	if err != nil {
		h.stored(orgs)
	}
	return err
}
