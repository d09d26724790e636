package service

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
)

// crew is this process's worker, and the one after it where one could not go on: a database that is away when a worker begins is no reason to
// serve without one for good. It is safe for concurrent use.
type crew struct {
	options work.Options
	log     *slog.Logger
	worker  atomic.Pointer[work.Worker]
	failed  atomic.Pointer[error] // why none works at this moment; nil: one does
}

var errNotYet error = &unready{"the workers have not begun"}

// crewPause is before a worker takes the place of one that could not go on.
const crewPause = 3 * time.Second

func newCrew(o work.Options) (*crew, error) {
	w, err := work.New(o)
	if err != nil {
		return nil, err
	}
	c := &crew{options: o, log: o.Log}
	c.worker.Store(w)
	c.failed.Store(&errNotYet)
	return c, nil
}

// stored is for webhook.Options.Stored.
func (c *crew) stored(orgs []record.UUID) { c.worker.Load().Stored(orgs) }

// working is nil while a worker works, and else says why none does.
func (c *crew) working() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// run works until read is done, and then stops softly; when ctx is done, it is aborted.
func (c *crew) run(ctx, read context.Context) {
	for {
		c.failed.Store(nil)
		err := c.worker.Load().Run(ctx, read)
		if read.Err() != nil {
			if err != nil {
				c.log.Warn("the workers did not stop in order; what they had under way is taken up elsewhere or later", "error", err)
			}
			return
		}
		if err == nil {
			err = errNotYet
		}
		c.failed.Store(&err)
		c.log.Error("the workers have stopped; others take their place", "pause", crewPause, "error", err)
		for pausing := true; pausing; {
			select {
			case <-read.Done():
				return
			case <-time.After(crewPause):
			}
			w, err := work.New(c.options)
			if pausing = err != nil; err == nil {
				c.worker.Store(w)
			}
		}
	}
}
