package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// KindWebhook is a run that works on the inbox: it reads the objects that deliveries name anew and loads them.
const KindWebhook = "webhook"

// DrainOptions bounds one pass over an inbox. The zero value works.
type DrainOptions struct {
	Round    int           // deliveries that are looked at together, each object once; 0: 1000
	For      time.Duration // a pass begins no further round after it, so that others get their turn; 0: 1 min
	Attempts int           // a delivery that has failed so often, for a reason of its own, is parked; 0: 8
}

func (o DrainOptions) orDefault() DrainOptions {
	if o.Round <= 0 {
		o.Round = 1000
	}
	if o.For <= 0 {
		o.For = time.Minute
	}
	if o.Attempts <= 0 {
		o.Attempts = 8
	}
	return o
}

// DrainReport is what a pass came to.
type DrainReport struct {
	Run        record.UUID `json:"run"`        // zero: there was nothing to do
	Deliveries int64       `json:"deliveries"` // looked at
	Done       int64       `json:"done"`
	Objects    int64       `json:"objects"` // read anew
	Later      int64       `json:"later"`   // deliveries that are kept for a later pass
	Parked     int64       `json:"parked"`  // deliveries that have failed too often; see postgres.DB.RetryParked
	More       bool        `json:"more"`    // there is more to be done now
}

// Drain makes one pass over the organisation's inbox, as a run of its own: rounds of deliveries, oldest first, until none is due or the pass
// has lasted long enough. Of several deliveries about one object, one read is made. The marks are set in the transactions that load, so
// a delivery is done exactly when what it told of is there.
//
// Where ingest is off, nothing is connected or nothing is due, it does nothing and takes no lease. The error is postgres.ErrHeld where another
// run holds the workspace; whoever has that run may call its Drain. When read is done the pass ends early, without an error. What Intercom or the
// database keeps from being done stays in the inbox. No files are downloaded and no snapshot is kept: a sync does both, as it
// reads what was changed.
func (r *Runner) Drain(ctx, read context.Context, o DrainOptions) (DrainReport, error) {
	o = o.orDefault()
	first, err := r.DB.OpenDeliveries(ctx, r.Connection.Org, 0, 1)
	if err != nil || len(first) == 0 {
		return DrainReport{}, err
	}
	run, err := r.plain().Start(ctx, Request{Kind: KindWebhook})
	if err != nil {
		return DrainReport{}, err
	}
	report, err := run.drain(ctx, read, o)
	return report, errors.Join(err, run.Close(ctx))
}

// Drain is Runner.Drain for a workspace that this run holds: a backfill may take days, and what happens meanwhile need not wait for it. It may be
// called by another goroutine while the run is in Do, one call at a time, and must have returned before Close.
func (r *Run) Drain(ctx, read context.Context, o DrainOptions) (DrainReport, error) {
	return r.runner.DrainUnder(ctx, read, r.lease, o)
}

// DrainUnder is Run.Drain for a workspace that a run of another package holds, such as a replay.
func (r *Runner) DrainUnder(ctx, read context.Context, lease *postgres.Lease, o DrainOptions) (DrainReport, error) {
	o = o.orDefault()
	runner := r.plain()
	first, err := runner.DB.OpenDeliveries(ctx, runner.Connection.Org, 0, 1)
	if err != nil || len(first) == 0 {
		return DrainReport{}, err
	}
	beside, err := runner.start(ctx, lease, Request{Kind: KindWebhook})
	if err != nil {
		return DrainReport{}, err
	}
	return beside.drain(ctx, read, o)
}

// plain is the runner without what a pass over the inbox leaves to others.
func (r *Runner) plain() *Runner {
	p := *r
	p.Snapshot, p.Attachments = Snapshot{}, nil
	return &p
}

// drain makes the rounds and ends the run.
func (r *Run) drain(ctx, read context.Context, o DrainOptions) (report DrainReport, err error) {
	ctx, release := r.lease.Bind(ctx)
	defer release()
	report.Run = r.run.ID
	ctx, end := r.watch(ctx, "")
	err = r.rounds(ctx, read, o, &report)
	outcome := postgres.Outcome{State: postgres.RunComplete}
	switch {
	case errors.Is(err, pipeline.ErrStopped), err != nil && ctx.Err() != nil && context.Cause(r.lease.Lost()) == nil:
		outcome.State = postgres.RunInterrupted
	case err != nil:
		outcome.State, outcome.Err = postgres.RunFailed, err
	default:
		err = r.run.CompleteStream(ctx, inboxStream)
	}
	if ferr := r.finish(ctx, outcome, Patience(err), false); ferr != nil && err == nil {
		err = ferr
	}
	end(outcome.State, err)
	if errors.Is(err, pipeline.ErrStopped) {
		err = nil
	}
	return report, err
}

func (r *Run) rounds(ctx, read context.Context, o DrainOptions, report *DrainReport) error {
	reference, err := r.names(ctx)
	if err != nil {
		return err
	}
	org, began, last := r.runner.Connection.Org, time.Now(), int64(0)
	for {
		if read.Err() != nil {
			return pipeline.ErrStopped
		}
		list, err := r.runner.DB.OpenDeliveries(ctx, org, last, o.Round)
		if err != nil || len(list) == 0 {
			return err
		}
		if time.Since(began) > o.For {
			report.More = true
			return nil
		}
		// Each delivery has one turn in a pass, even if it stays open.
		last = list[len(list)-1].N
		report.Deliveries += int64(len(list))
		round := newRound(r.runner, list)
		if err := r.round(ctx, read, round, reference); err != nil {
			return err
		}
		report.Done += round.done
		report.Objects += round.objects
		if err := r.keepForLater(ctx, round, o.Attempts, report); err != nil {
			return err
		}
	}
}

// names returns the reference data of the run: what is known for a minute, or what is read now. A drain runs every few seconds, and to ask for
// all of it each time would cost more requests than the objects. A name that came since is put right by the next sync.
func (r *Run) names(ctx context.Context) (record.Reference, error) {
	cache := r.runner.Names
	if kept, ok := cache.get(); ok {
		return kept, r.run.SetReference(ctx, kept)
	}
	read, err := r.readReference(ctx)
	if err == nil {
		cache.put(read)
	}
	return read, err
}

// inboxStream is the one stream of a drain, with objects of all kinds.
const inboxStream = "webhooks"

// round reads and loads what a round's deliveries name.
func (r *Run) round(ctx, read context.Context, round *round, reference record.Reference) error {
	at, err := r.run.Checkpoint(ctx, inboxStream)
	if err != nil {
		return err
	}
	s := stream{name: inboxStream, kind: record.KindConversation, anew: true, tap: round}
	p, sink, err := r.build(s, round, postgres.Checkpoint{Seq: at.Seq}, reference)
	if err != nil {
		return err
	}
	r.tracker.start(s.name, committed(at.Counts), 0, p)
	err = p.Run(ctx, read)
	if cerr := sink.Close(ctx); err == nil {
		err = cerr
	}
	return err
}

// keepForLater puts the deliveries of a round back whose objects could not be read.
func (r *Run) keepForLater(ctx context.Context, round *round, attempts int, report *DrainReport) error {
	for reason, ids := range round.failed {
		parked, err := r.run.FailDeliveries(ctx, ids, reason, attempts)
		if err != nil {
			return err
		}
		report.Parked += parked
		report.Later += int64(len(ids)) - parked
		r.runner.Log.Warn("deliveries kept for later", "deliveries", len(ids), "parked", parked, "why", reason)
	}
	for reason, ids := range round.delayed {
		if err := r.run.DelayDeliveries(ctx, ids, reason, scopeDelay); err != nil {
			return err
		}
		report.Later += int64(len(ids))
		r.runner.Log.Warn("deliveries kept for later", "deliveries", len(ids), "why", reason)
	}
	return nil
}

// scopeDelay is how long objects rest that the token may not read.
const scopeDelay = 15 * time.Minute

func describeFailure(key record.ObjectKey, err error) string {
	return fmt.Sprintf("%s %s: %s", key.Kind, key.ID, err)
}
