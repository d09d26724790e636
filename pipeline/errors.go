package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// ErrStopped is what Run returns after a soft stop: reading ended before the source did, and all that
// was read is committed. The same run continues from the committed cursor.
var ErrStopped = errors.New("stopped before the end of the source")

// ErrTooManyRejects matches a *RejectFlood.
var ErrTooManyRejects = errors.New("too many rejects")

// errGoexit stands in for the error of a goroutine that was ended from inside, which is what
// testing.T.FailNow does when a stage calls it.
var errGoexit = errors.New("runtime.Goexit was called")

// Error is a fatal error with the place where it arose. All batches before Seq are committed, unless
// the run was aborted as well; nothing from Seq on is. Seq counts the batches of this run as that
// stage sees them: it is a different count on the two sides of a Rebatch.
type Error struct {
	Stage string
	Seq   uint64
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("%s, batch %d: %v", e.Stage, e.Seq, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Format prints the stack of a panic under %+v, and else what Error returns.
func (e *Error) Format(f fmt.State, verb rune) {
	io.WriteString(f, e.Error())
	var p *PanicError
	if verb == 'v' && f.Flag('+') && errors.As(e.Err, &p) {
		fmt.Fprintf(f, "\n%s", p.Stack)
	}
}

// PanicError is a panic of a source, stage, tap, sink or ForEach function. Its message is one line; the
// stack is for the log.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value that the code panicked with, if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guard calls fn and turns a panic into an error. It cannot turn runtime.Goexit into one: its callers
// set errGoexit beforehand, where the goroutine's deferred calls find it. It is conc's panics.Try
// without the allocation.
func guard(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}

// isContext reports whether err only says that a context was done.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
