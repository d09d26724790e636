package pipeline

import (
	"context"
	"sync/atomic"
	"time"
)

// outcome is what became of one batch.
type outcome[T any] struct {
	b   parcel[T]
	err error
}

// parallel runs a node with several workers, whose batches leave in Seq order.
//
// A worker first takes one of 2 × workers tokens, then a batch, and puts the outcome into the slot
// Seq modulo 2 × workers. This goroutine empties the slots in turn and gives the token back once a
// batch has left. Seq is dense, so the batches inside are always the next few, and no two share a
// slot. Twice as many slots as workers let the others work on while one batch takes long.
//
// conc/stream does the same in fewer lines, but with three allocations a batch, and it loses the order
// of a task that calls runtime.Goexit; see BenchmarkOrdered.
func parallel[In, Out any](e *env, n *node, in *link[In], out *link[Out], do func(context.Context, parcel[In]) (parcel[Out], error)) {
	slots := make([]chan outcome[Out], 2*n.workers)
	for i := range slots {
		slots[i] = make(chan outcome[Out], 1)
	}
	tokens := make(chan struct{}, len(slots))
	idle := make(chan struct{}) // closed when no worker is left
	var failed, ended atomic.Bool
	var left atomic.Int64

	// work processes one batch. Its outcome reaches the slot even if the goroutine ends inside.
	work := func(b parcel[In]) {
		o := outcome[Out]{err: errGoexit}
		defer func() {
			if o.err != nil {
				failed.Store(true)
				e.up() // nothing after this batch will be committed
			}
			slots[b.Seq%uint64(len(slots))] <- o
		}()
		o.b, o.err = do(e.ctx, b)
	}
	worker := func() {
		defer func() {
			if left.Add(-1) == 0 {
				close(idle)
			}
		}()
		for !failed.Load() {
			if !takeToken(e.ctx, n, tokens) {
				return
			}
			b, ok := in.receive(n)
			if !ok {
				ended.Store(true)
				return
			}
			work(b)
		}
	}

	var end error
	defer func() {
		out.close(end)
		e.cancel()
	}()
	left.Store(int64(n.workers))
	for range n.workers {
		e.crew.Go(worker)
	}
	for next := uint64(0); ; next++ {
		slot := slots[next%uint64(len(slots))]
		var o outcome[Out]
		select {
		case o = <-slot:
		case <-idle:
			select {
			case o = <-slot:
			default:
				if end = e.ctx.Err(); ended.Load() {
					end = in.err
				}
				return
			}
		}
		if o.err == nil {
			o.err = out.send(e.ctx, n, o.b)
		}
		if o.err != nil {
			end = &Error{n.name, next, o.err}
			return
		}
		<-tokens
	}
}

// takeToken waits for a free slot. It reports false when ctx is done.
func takeToken(ctx context.Context, n *node, tokens chan<- struct{}) bool {
	select {
	case tokens <- struct{}{}:
		return true
	default:
	}
	defer since(&n.waitOut, time.Now())
	select {
	case tokens <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
