package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Flow is the stream of batches that leaves one stage, to be given to exactly one other.
type Flow[T any] struct {
	p   *Pipeline
	out *link[T]
}

// parcel is a batch on its way, with what the engine alone needs to know of it.
type parcel[T any] struct {
	Batch[T]
	read int64 // objects of the source that went into it
}

// link connects two nodes. The sender closes ch when it ends, however it ends, so a receiver never
// needs to look at a context; err, set before that, says why if it was not the end of the source. Batches
// that were sent before an error are good.
type link[T any] struct {
	from  string
	taken bool
	ch    chan parcel[T]
	err   error
}

func newLink[T any](p *Pipeline, from string) *link[T] {
	return &link[T]{from: from, ch: make(chan parcel[T], p.buffer)}
}

// take returns the flow's link to its one consumer.
func (f Flow[T]) take(by string) *link[T] {
	if f.out.taken {
		f.p.blame("%s takes the flow of %s, which another stage takes already", by, f.out.from)
	}
	f.out.taken = true
	return f.out
}

// receive returns the next batch, or false at the end.
func (l *link[T]) receive(n *node) (parcel[T], bool) {
	var b parcel[T]
	var ok bool
	select {
	case b, ok = <-l.ch:
	default:
		start := time.Now()
		b, ok = <-l.ch
		since(&n.waitIn, start)
	}
	if ok {
		l.count(n, b)
	}
	return b, ok
}

// count notes that n has taken b.
func (l *link[T]) count(n *node, b parcel[T]) {
	n.held.Add(1)
	n.batches.Add(1)
	n.in.Add(int64(len(b.Items)))
}

// send hands a batch on, or gives it up when ctx is done.
func (l *link[T]) send(ctx context.Context, n *node, b parcel[T]) error {
	defer n.held.Add(-1)
	select {
	case l.ch <- b:
		return nil
	default:
	}
	start := time.Now()
	defer since(&n.waitOut, start)
	select {
	case l.ch <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link[T]) close(err error) {
	l.err = err
	close(l.ch)
}

// From starts a flow with a source, read from the cursor on; nil is the beginning. Each page becomes
// a batch, which owns the page's slices.
func From[T any](p *Pipeline, s Source[T], from Cursor) Flow[T] {
	n := &node{name: s.Name(), role: "source", workers: 1, holds: 1}
	out := newLink[T](p, n.name)
	n.run = func(e *env) {
		var seq uint64
		end := errGoexit
		defer func() {
			if end != nil && !errors.Is(end, ErrStopped) {
				end = &Error{n.name, seq, end}
			}
			out.close(end)
			e.cancel()
		}()
		end = readPages(e, n, s, from, out, &seq)
	}
	if len(p.nodes) > 0 {
		p.blame("a second source, %s", n.name)
	}
	p.add(n)
	return Flow[T]{p, out}
}

func readPages[T any](e *env, n *node, s Source[T], from Cursor, out *link[T], seq *uint64) error {
	ctx, stop := context.WithCancelCause(e.ctx)
	defer stop(nil)
	defer context.AfterFunc(e.read, func() { stop(context.Cause(e.read)) })()
	if e.read.Err() != nil {
		return stopped(e.read)
	}
	err := guard(func() error {
		start := time.Now()
		for page, err := range s.Pages(ctx, from) {
			since(&n.busy, start)
			if err != nil {
				return err
			}
			name(page.Rejects, n.name)
			n.batches.Add(1)
			n.out.Add(int64(len(page.Items)))
			n.rejects.Add(int64(len(page.Rejects)))
			n.held.Add(1)
			b := parcel[T]{read: int64(len(page.Items) + len(page.Rejects))}
			b.Batch = Batch[T]{Seq: *seq, Items: page.Items, Cursor: page.Cursor, Rejects: page.Rejects, Counts: page.Counts}
			if err := out.send(e.ctx, n, b); err != nil {
				return err
			}
			*seq++
			if e.read.Err() != nil {
				break
			}
			start = time.Now()
		}
		return nil
	})
	if e.read.Err() != nil && e.ctx.Err() == nil && (err == nil || isContext(err) || errors.Is(err, context.Cause(e.read))) {
		return stopped(e.read)
	}
	return err
}

// stopped is the result of a soft stop. The plain cancelling of a context says nothing worth adding.
func stopped(read context.Context) error {
	if cause := context.Cause(read); !isContext(cause) {
		return fmt.Errorf("%w: %w", ErrStopped, cause)
	}
	return ErrStopped
}

// name fills in the stage that made the rejects where it left that out.
func name(rejects []Reject, stage string) {
	for i := range rejects {
		if rejects[i].Stage == "" {
			rejects[i].Stage = stage
		}
	}
}

// Via sends the flow through a stage, several batches at once with more than one worker; they leave in
// the order in which they came. Fewer than one worker is one. The stage is not called for a batch
// without items, which passes on.
func Via[In, Out any](f Flow[In], s Stage[In, Out], workers int) Flow[Out] {
	n := &node{name: s.Name(), role: "stage", workers: max(workers, 1)}
	return attach(f, n, func(ctx context.Context, b parcel[In]) (parcel[Out], error) {
		out := parcel[Out]{read: b.read}
		out.Batch = Batch[Out]{Seq: b.Seq, Cursor: b.Cursor, Rejects: b.Rejects, Files: b.Files, Counts: b.Counts}
		if len(b.Items) == 0 {
			return out, nil
		}
		r, err := s.Process(ctx, b.Items)
		if err != nil {
			return out, err
		}
		name(r.Rejects, n.name)
		n.rejects.Add(int64(len(r.Rejects)))
		out.Items = r.Items
		if out.Rejects == nil {
			out.Rejects = r.Rejects
		} else {
			out.Rejects = append(out.Rejects, r.Rejects...)
		}
		out.Counts.Merge(r.Counts)
		return out, nil
	})
}

// Tap writes each batch to a file sink before the batch moves on, in Seq order and one at a time. The
// files are durable then, and become visible with the batch's commit; a file whose batch is not
// committed is garbage, for the file sink's owner to sweep. Batches without items are written too.
func Tap[T any](f Flow[T], s FileSink[T]) Flow[T] {
	n := &node{name: s.Name(), role: "tap", workers: 1}
	return attach(f, n, func(ctx context.Context, b parcel[T]) (parcel[T], error) {
		files, err := s.Write(ctx, b.Batch)
		b.Files = append(b.Files, files...)
		return b, err
	})
}

// attach adds a node that makes one batch of one.
func attach[In, Out any](f Flow[In], n *node, do func(context.Context, parcel[In]) (parcel[Out], error)) Flow[Out] {
	in, out := f.take(n.name), newLink[Out](f.p, n.name)
	guarded := func(ctx context.Context, b parcel[In]) (r parcel[Out], err error) {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		start := time.Now()
		err = guard(func() (err error) { r, err = do(ctx, b); return err })
		since(&n.busy, start)
		n.out.Add(int64(len(r.Items)))
		return r, err
	}
	if n.workers == 1 {
		n.holds = 1
		n.run = func(e *env) { serial(e, n, in, out, guarded) }
	} else {
		n.holds = 2 * n.workers
		n.run = func(e *env) { parallel(e, n, in, out, guarded) }
	}
	f.p.add(n)
	return Flow[Out]{f.p, out}
}

// serial runs a node with one worker.
func serial[In, Out any](e *env, n *node, in *link[In], out *link[Out], do func(context.Context, parcel[In]) (parcel[Out], error)) {
	var seq uint64
	end := errGoexit
	defer func() {
		if end == errGoexit {
			end = &Error{n.name, seq, end}
		}
		out.close(end)
		e.cancel()
	}()
	for {
		b, ok := in.receive(n)
		if !ok {
			end = in.err
			return
		}
		seq = b.Seq
		r, err := do(e.ctx, b)
		if err == nil {
			err = out.send(e.ctx, n, r)
		}
		if err != nil {
			end = &Error{n.name, seq, err}
			return
		}
	}
}

// Into ends the flow in a sink.
func Into[T any](f Flow[T], s Sink[T]) {
	n := &node{name: s.Name(), role: "sink", workers: 1, holds: 1}
	in := f.take(n.name)
	n.run = func(e *env) {
		var next uint64
		end := errGoexit
		defer func() {
			if end == errGoexit {
				end = &Error{n.name, next, end}
			}
			f.p.err = end
			e.cancel()
		}()
		for t := (&tally{limit: f.p.limit}); ; next++ {
			b, ok := in.receive(n)
			if !ok {
				end = in.err
				return
			}
			if err := commit(e.ctx, n, s, t, b, next); err != nil {
				end = &Error{n.name, next, err}
				return
			}
		}
	}
	f.p.add(n)
}

// commit commits one batch, the next in order.
func commit[T any](ctx context.Context, n *node, s Sink[T], t *tally, b parcel[T], next uint64) error {
	defer n.held.Add(-1)
	if b.Seq != next {
		return fmt.Errorf("batch %d came in its place", b.Seq)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.add(b.read, b.Rejects); err != nil {
		return err
	}
	items, rejects := len(b.Items), len(b.Rejects)
	start := time.Now()
	err := guard(func() error { return s.Commit(ctx, b.Batch) })
	since(&n.busy, start)
	if err == nil {
		n.out.Add(int64(items))
		n.rejects.Add(int64(rejects))
	}
	return err
}
