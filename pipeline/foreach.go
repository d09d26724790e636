package pipeline

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sourcegraph/conc"
)

// ForEach calls fn for 0 … n-1 in order of starting, at most limit at once (fewer than one is one), and
// returns when all calls have. It is for stages that do I/O for each item. The first error cancels
// the context of the other calls, no further ones begin, and it is returned; a panic is an error
// that names the index. If ctx is done before all calls have begun, the error is its cause. fn
// may write to element i of a slice without locking.
func ForEach(ctx context.Context, n, limit int, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		next  atomic.Int64
		once  sync.Once
		first error
	)
	fail := func(err error) {
		once.Do(func() { first = err })
		cancel()
	}
	call := func(i int) {
		err := errGoexit
		defer func() {
			if err != nil {
				fail(err)
			}
		}()
		if err = guard(func() error { return fn(ctx, i) }); err != nil {
			if _, panicked := err.(*PanicError); panicked {
				err = fmt.Errorf("item %d: %w", i, err)
			}
		}
	}
	worker := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if ctx.Err() != nil {
				fail(context.Cause(ctx))
				return
			}
			call(i)
		}
	}
	if limit = min(limit, n); limit <= 1 {
		worker()
		return first
	}
	var crew conc.WaitGroup
	for range limit {
		crew.Go(worker)
	}
	crew.Wait()
	return first
}
