package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sourcegraph/conc"
)

// DefaultBuffer is how many batches wait between two stages unless Options says otherwise: enough to
// ride out one slow batch, few enough that a soft stop drains soon.
const DefaultBuffer = 2

// Options of a Pipeline. The zero value works.
type Options struct {
	Buffer      int // batches that may wait between two stages; 0 means DefaultBuffer, negative none
	RejectLimit RejectLimit
}

// Pipeline is one source, the stages behind it and one sink. It is built by From, Via, Tap, Rebatch and
// Into in one goroutine, and run once.
type Pipeline struct {
	buffer  int
	limit   RejectLimit
	nodes   []*node // source first, sink last
	mistake error   // the first thing that is wrong with how it was built
	ran     atomic.Bool
	err     error // how the sink ended
}

// New returns an empty Pipeline.
func New(o Options) *Pipeline {
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	return &Pipeline{buffer: max(o.Buffer, 0), limit: o.RejectLimit.orDefault()}
}

// node is one place of the pipeline.
type node struct {
	counters
	name, role string
	workers    int
	holds      int // batches it can hold at once
	run        func(*env)
}

// env is what a node needs to know of its run. The contexts are nested from the sink to the source: the
// source's is the innermost. So a node that ends can end everything before it and leave what is behind it alone.
type env struct {
	ctx    context.Context
	cancel context.CancelFunc // ends this node and all before it
	up     context.CancelFunc // ends all before this node
	read   context.Context    // done means: read no more
	crew   *conc.WaitGroup    // every goroutine of the run
}

func (p *Pipeline) add(n *node) {
	p.nodes = append(p.nodes, n)
}

func (p *Pipeline) blame(format string, args ...any) {
	if p.mistake == nil {
		p.mistake = fmt.Errorf("build pipeline: "+format, args...)
	}
}

// Run reads, processes and commits until the source ends and the last batch is committed, and returns
// nil. It returns earlier
//
//   - when read is done: nothing more is read, what was read is committed, and the error is ErrStopped.
//     The source's context is done then, the stages' and the sink's is not;
//   - on a fatal error at a batch: all batches before it are committed, none from it on, and the error
//     is an *Error. If several batches fail, it is the first of them in the order of the source;
//   - when ctx is done: at once. No commit begins after that, and the error wraps context.Cause(ctx).
//
// When Run returns, no goroutine of it is left. It waits for a call of a source, stage or sink that
// does not heed its context. A Pipeline runs once.
func (p *Pipeline) Run(ctx, read context.Context) error {
	switch {
	case p.mistake != nil:
		return p.mistake
	case len(p.nodes) == 0 || p.nodes[len(p.nodes)-1].role != "sink":
		return errors.New("build pipeline: no sink")
	case p.ran.Swap(true):
		return errors.New("run pipeline: it has run already")
	}
	var crew conc.WaitGroup
	envs := make([]*env, len(p.nodes))
	inner := ctx
	for i := len(p.nodes) - 1; i >= 0; i-- {
		e := &env{read: read, crew: &crew}
		e.ctx, e.cancel = context.WithCancel(inner)
		envs[i], inner = e, e.ctx
	}
	for i, n := range p.nodes {
		envs[i].up = func() {}
		if i > 0 {
			envs[i].up = envs[i-1].cancel
		}
		crew.Go(func() { n.run(envs[i]) })
	}
	panicked := crew.WaitAndRecover()
	for _, n := range p.nodes {
		n.held.Store(0) // what was given up on the way is gone
	}
	if r := panicked; r != nil {
		return fmt.Errorf("run pipeline: %w", &PanicError{Value: r.Value, Stack: r.Stack})
	}
	if p.err != nil && ctx.Err() != nil && isContext(p.err) {
		return fmt.Errorf("aborted: %w", context.Cause(ctx))
	}
	return p.err
}

// Stats returns the counters of all stages, source first. It may be called at any time from any
// goroutine once the pipeline is built.
func (p *Pipeline) Stats() []StageStats {
	stats := make([]StageStats, len(p.nodes))
	for i, n := range p.nodes {
		stats[i] = n.snapshot()
	}
	return stats
}

// MaxInFlight is the most batches that can exist at once between the source and the end of a commit:
// one each in the source, a tap, a stage with one worker and the sink, two per worker in a stage with
// several, and Options.Buffer between any two. What a Rebatch holds counts as one batch, of the size of its
// Limits. Memory is this number times the size of a batch, and does not grow with the stream.
func (p *Pipeline) MaxInFlight() int {
	most := p.buffer * max(len(p.nodes)-1, 0)
	for _, n := range p.nodes {
		most += n.holds
	}
	return most
}
