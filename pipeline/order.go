package pipeline

import (
	"context"
	"sync"
	"time"
)

// parallel runs a node with several workers, whose batches leave in Seq order.
//
// A worker takes one of 2 × workers tokens and then a batch, and leaves the outcome in the slot Seq modulo
// 2 × workers. Whoever fills the slot that is next hands that batch on, and those behind it that
// are ready; the token is free again once its batch has left. Seq is dense, so the batches inside are
// always the next few and no two share a slot. Twice as many slots as workers let the others work on
// while one batch takes long.
//
// conc/stream has the same order with less code, but it loses the slot of a task that panics, hangs on one
// that calls runtime.Goexit, and needs two goroutines to wake for a batch; see BenchmarkOrdered.
func parallel[In, Out any](e *env, n *node, in *link[In], out *link[Out], do func(context.Context, parcel[In]) (parcel[Out], error)) {
	c := &crew[In, Out]{
		e: e, n: n, in: in, out: out, do: do,
		tokens: make(chan struct{}, n.holds),
		slots:  make([]outcome[Out], n.holds),
		left:   n.workers,
	}
	for range n.workers - 1 {
		e.crew.Go(c.worker)
	}
	c.worker()
}

// outcome is what became of one batch.
type outcome[T any] struct {
	b     parcel[T]
	err   error
	ready bool
}

// crew is the workers of one stage and what they share.
type crew[In, Out any] struct {
	e      *env
	n      *node
	in     *link[In]
	out    *link[Out]
	do     func(context.Context, parcel[In]) (parcel[Out], error)
	tokens chan struct{}

	mu     sync.Mutex
	slots  []outcome[Out]
	next   uint64 // the batch that leaves next
	failed bool   // a batch has failed: no later one is begun
	ended  bool   // the input ended
	closed bool   // nothing leaves any more
	left   int    // workers that have not gone
}

func (c *crew[In, Out]) worker() {
	defer c.leave()
	for c.goesOn() && c.takeToken() {
		b, ok := c.in.receive(c.n)
		if !ok {
			c.mu.Lock()
			c.ended = true
			c.mu.Unlock()
			return
		}
		c.work(b)
	}
}

func (c *crew[In, Out]) goesOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.failed
}

// takeToken waits for a free slot. It reports false when the run is over for this stage.
func (c *crew[In, Out]) takeToken() bool {
	select {
	case c.tokens <- struct{}{}:
		return true
	default:
	}
	defer since(&c.n.waitOut, time.Now())
	select {
	case c.tokens <- struct{}{}:
		return true
	case <-c.e.ctx.Done():
		return false
	}
}

// work processes one batch. Its outcome reaches the slot even if the goroutine ends inside.
func (c *crew[In, Out]) work(b parcel[In]) {
	o := outcome[Out]{err: errGoexit}
	defer func() {
		o.ready = true
		c.deliver(b.Seq, &o)
	}()
	o.b, o.err = c.do(c.e.ctx, b)
}

// deliver puts an outcome into its slot and hands on what is next, if that is there and no other worker
// is at it.
func (c *crew[In, Out]) deliver(seq uint64, o *outcome[Out]) {
	if o.err != nil {
		c.e.up() // nothing from this batch on will be committed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = c.failed || o.err != nil
	c.slots[seq%uint64(len(c.slots))] = *o
	for {
		slot := &c.slots[c.next%uint64(len(c.slots))]
		if !slot.ready {
			return
		}
		// Until next moves on, the empty slot keeps the other workers from handing on as well.
		first := *slot
		*slot = outcome[Out]{}
		if err := c.handOn(&first); err != nil {
			c.close(&Error{c.n.name, c.next, err})
			return
		}
		c.next++
		<-c.tokens
	}
}

// handOn sends a batch on, without the lock meanwhile.
func (c *crew[In, Out]) handOn(o *outcome[Out]) error {
	if o.err != nil {
		return o.err
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	return c.out.send(c.e.ctx, c.n, o.b)
}

// leave ends a worker; the last one closes the output.
func (c *crew[In, Out]) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left > 0 || c.closed {
		return
	}
	if c.ended {
		c.close(c.in.err)
	} else {
		c.close(c.e.ctx.Err())
	}
}

// close ends the output, and with it this stage and all before it.
func (c *crew[In, Out]) close(err error) {
	c.closed = true
	c.out.close(err)
	c.e.cancel()
}
