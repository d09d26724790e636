// Package pipetest has what tests of a pipeline and of its parts need: a Source over slices, a
// Recorder as sink, Faults that strike at a named point, and the checks that every source, stage and
// sink of the program has to pass (CheckSource, CheckStage, CheckSink). Nothing here sleeps except
// where a test says so, and then in the clock of its testing/synctest bubble.
package pipetest

import (
	"errors"
	"fmt"
	"sync"
)

// ErrFault is the error of a fault that Fail was given none for.
var ErrFault = errors.New("planned fault")

// Faults strike when a named point is passed for the nth time. The zero value and nil have no faults.
// Safe for concurrent use.
type Faults struct {
	mu     sync.Mutex
	passes map[string]int
	plans  map[plan][]func() error
}

type plan struct {
	point string
	pass  int
}

// Fail makes the nth pass (from 1) of the point return err, or ErrFault if err is nil.
func (f *Faults) Fail(point string, n int, err error) {
	if err == nil {
		err = fmt.Errorf("%w at %s, pass %d", ErrFault, point, n)
	}
	f.plan(point, n, func() error { return err })
}

// Panic makes the nth pass of the point panic with v.
func (f *Faults) Panic(point string, n int, v any) {
	f.plan(point, n, func() error { panic(v) })
}

// Do calls fn at the nth pass of the point: to cancel a context, to end the goroutine, to wait.
func (f *Faults) Do(point string, n int, fn func()) {
	f.plan(point, n, func() error { fn(); return nil })
}

func (f *Faults) plan(point string, n int, strike func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plans == nil {
		f.plans = make(map[plan][]func() error)
	}
	key := plan{point, n}
	f.plans[key] = append(f.plans[key], strike)
}

// Pass passes the point: it counts, and does what is planned for this pass.
func (f *Faults) Pass(point string) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	if f.passes == nil {
		f.passes = make(map[string]int)
	}
	f.passes[point]++
	strikes := f.plans[plan{point, f.passes[point]}]
	f.mu.Unlock()
	for _, strike := range strikes {
		if err := strike(); err != nil {
			return err
		}
	}
	return nil
}

// Passes returns how often the point has been passed.
func (f *Faults) Passes(point string) int {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.passes[point]
}
